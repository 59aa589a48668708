"""Running a program on many batches up to one step after another, without holding what all of them give at once.

What is learned at one step (a normalisation's statistics, refitted weights) is to hold for all batches before any of
them goes on. So the batches are held, all of them, at a step where their values are small enough, and run from there to
the next step at which there is something to learn. Wide layers are run again; narrow ones, further on, are not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from worker.engine.program import Program, Step, compute

Batch = Mapping[str, Tensor]
"""A model's inputs by name."""


class Walk:
    """Batches on their way through a program, held at the steps where they may rest; their inputs are in any case."""

    def __init__(self, program: Program, batches: Sequence[Batch], rests: Sequence[int]) -> None:
        self._program = program
        self._held: list[dict[str, Any]] = [dict(batch) for batch in batches]
        self._position = 0
        self._rests = rests

    def reach(self, position: int, steps: Sequence[Step]) -> Iterator[list[Any]]:
        """Yield what the step at a position takes, batch after batch; positions never fall, and all is to be taken.

        `steps` are computed in the program's steps' place. Those before the position are not to change any more.

        Raises:
            StepError: a step does not run on what it is given.
        """
        return (taken for taken, _ in self._walk(position, position, steps))

    def cross(
        self, position: int, steps: Sequence[Step]
    ) -> Iterator[tuple[list[Any], Sequence[Any]]]:
        """Yield what the step at a position takes and what it gives; positions rise, and nor is this step to change.

        Raises:
            StepError: a step does not run on what it is given.
        """
        return self._walk(position, position + 1, steps)

    def _walk(
        self, position: int, end: int, steps: Sequence[Step]
    ) -> Iterator[tuple[list[Any], Sequence[Any]]]:
        """Compute all batches up to a step, and yield what the one at a position takes and, if computed, gives."""
        rest = max((at for at in self._rests if self._position < at <= end), default=self._position)
        for held in self._held:
            values: dict[str, Any] = {**self._program.constants, **held}
            taken: list[Any] = []
            given: Sequence[Any] = ()
            for at in range(self._position, end + 1):
                if at == rest:
                    held.clear()
                    held.update(
                        (name, value)
                        for name, value in values.items()
                        if name not in self._program.constants
                    )
                if at == position:
                    taken = [values[name] for name in steps[at].takes]
                if at < end:
                    step = steps[at]
                    given = compute(step, [values[name] for name in step.takes])
                    values.update(zip(step.gives, given, strict=True))
                    for name in self._program.last_uses[at]:
                        del values[name]
            yield taken, given
        self._position = rest


def resting_places(prints: Sequence[tuple[int, int]], batches: int, most_bytes: int) -> list[int]:
    """Return the steps before which what so many batches of one size take, by their `footprints`, may be held.

    >>> resting_places([(1, 9), (8, 9), (2, 4)], 3, 20)
    [0, 2]
    """
    return [position for position, (held, _) in enumerate(prints) if held * batches <= most_bytes]


def spread(batches: Sequence[Batch], most: int) -> list[Batch]:
    """Return at most so many batches, evenly from first to last: those of one range of values lie side by side."""
    number = min(most, len(batches))
    return [batches[at * (len(batches) - 1) // max(number - 1, 1)] for at in range(number)]


def footprints(program: Program, batch: Batch) -> list[tuple[int, int]]:
    """Return, for every step, what the values of one batch take before it, and while it runs, in bytes.

    Raises:
        StepError: the program does not run on this batch.
    """
    values: dict[str, Any] = dict(batch)
    found = []
    for step, unneeded in zip(program.steps, program.last_uses, strict=True):
        given = compute(
            step,
            [values[name] if name in values else program.constants[name] for name in step.takes],
        )
        before = _bytes(values.values())
        found.append((before, before + _bytes(given)))
        values.update(zip(step.gives, given, strict=True))
        for name in unneeded:
            del values[name]
    return found


def _bytes(values: Iterable[object]) -> int:
    return sum(
        value.numel() * value.element_size() for value in values if isinstance(value, Tensor)
    )

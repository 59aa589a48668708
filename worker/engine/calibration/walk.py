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
    """Batches of one size on their way through a program; what is held of them takes at most `most_bytes` in all.

    The inputs themselves are held whatever they take.
    """

    def __init__(self, program: Program, batches: Sequence[Batch], most_bytes: int) -> None:
        self._program = program
        self._held: list[dict[str, Any]] = [dict(batch) for batch in batches]
        self._position = 0
        kept = [held * len(batches) <= most_bytes for held, _ in footprints(program, batches[0])]
        self._restable = [position for position, fits in enumerate(kept) if fits]

    def reach(self, position: int, steps: Sequence[Step]) -> Iterator[list[Any]]:
        """Yield what the step at a position takes, batch after batch; positions never fall, and all is to be taken.

        `steps` are computed in the program's steps' place. Those before the position are not to change any more.

        Raises:
            StepError: a step does not run on what it is given.
        """
        rest = max((at for at in self._restable if self._position < at <= position), default=self._position)
        for held in self._held:
            values: dict[str, Any] = {**self._program.constants, **held}
            for at in range(self._position, position + 1):
                if at == rest:
                    held.clear()
                    held.update((name, value) for name, value in values.items() if name not in self._program.constants)
                if at < position:
                    step = steps[at]
                    given = compute(step, [values[name] for name in step.takes])
                    values.update(zip(step.gives, given, strict=True))
                    for name in self._program.last_uses[at]:
                        del values[name]
            yield [values[name] for name in steps[position].takes]
        self._position = rest


def footprints(program: Program, batch: Batch) -> list[tuple[int, int]]:
    """Return, for every step, what the values of one batch take before it, and while it runs, in bytes.

    Raises:
        StepError: the program does not run on this batch.
    """
    values: dict[str, Any] = dict(batch)
    found = []
    for step, unneeded in zip(program.steps, program.last_uses, strict=True):
        given = compute(step, [values[name] if name in values else program.constants[name] for name in step.takes])
        before = _bytes(values.values())
        found.append((before, before + _bytes(given)))
        values.update(zip(step.gives, given, strict=True))
        for name in unneeded:
            del values[name]
    return found


def _bytes(values: Iterable[object]) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))

"""Running a program on several batches together, one step at a time over all of them.

Step by step rather than batch by batch, because what is learned at one step (moments, a normalisation's statistics,
refitted weights) is to hold for all batches before any of them goes on. Only the values that later steps need are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from worker.engine.program import Program, Step, compute

Batch = Mapping[str, Tensor]
"""A model's inputs by name."""


class Walk:
    """All batches at one step of a program; `steps` visits them in order."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self._program = program
        self._values: list[dict[str, Any]] = [{**program.constants, **batch} for batch in batches]
        self._position = 0

    def steps(self) -> Iterator[Step]:
        """Yield each step; before the next is asked for, `give` must have been called."""
        for position, step in enumerate(self._program.steps):
            self._position = position
            yield step

    def take(self, step: Step) -> list[list[Any]]:
        """Return what a step takes, for every batch."""
        return [[values[name] for name in step.takes] for values in self._values]

    def give(self, step: Step, results: Sequence[Sequence[Any]]) -> None:
        """Store what a step gave, for every batch, and forget what no later step needs."""
        for values, result in zip(self._values, results, strict=True):
            values.update(zip(step.gives, result, strict=True))
            for name in self._program.last_uses[self._position]:
                del values[name]

    @property
    def bytes(self) -> int:
        """What the values take that are kept at this step, constants apart."""
        constants = self._program.constants
        return _bytes(value for values in self._values for name, value in values.items() if name not in constants)


def peak_bytes(program: Program, batch: Batch) -> int:
    """Return the most bytes that the values of one batch take at any step, what it takes and what it gives included.

    Raises:
        StepError: the program does not run on this batch.
    """
    walk = Walk(program, [batch])
    peak = 0
    for step in walk.steps():
        [taken] = walk.take(step)
        given = compute(step, taken)
        peak = max(peak, walk.bytes + _bytes(given))
        walk.give(step, [given])
    return peak


def _bytes(values: Iterable[object]) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))

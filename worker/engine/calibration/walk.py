"""Running a program on several batches together, one step at a time over all of them.

Step by step rather than batch by batch, because what is learned at one step (moments, a normalisation's statistics,
refitted weights) is to hold for all batches before any of them goes on. Only the values that later steps need are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from worker.engine.program import Program, Step, compute, last_uses

Batch = Mapping[str, Tensor]
"""A model's inputs by name."""


class Walk:
    """All batches at one step of a program; `steps` visits them in order."""

    def __init__(self, program: Program, batches: Sequence[Batch]) -> None:
        self._program = program
        self._values: list[dict[str, Any]] = [{**program.constants, **batch} for batch in batches]
        self._last = last_uses(program)
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
            for name in self._last[self._position]:
                del values[name]

    def outputs(self) -> list[tuple[Any, ...]]:
        """Return the program's outputs for every batch, once all steps are done."""
        return [tuple(values[name] for name in self._program.outputs) for values in self._values]


def peak_bytes(program: Program, batch: Batch) -> int:
    """Return the most bytes that the values of one batch take at any step, constants apart.

    Raises:
        StepError: the program does not run on this batch.
    """
    last = last_uses(program)
    values: dict[str, Any] = {**program.constants, **batch}
    sizes = {name: _bytes(batch[name]) for name in batch}
    peak = 0
    for position, step in enumerate(program.steps):
        given = compute(step, [values[name] for name in step.takes])
        values.update(zip(step.gives, given, strict=True))
        sizes.update((name, _bytes(value)) for name, value in zip(step.gives, given, strict=True))
        peak = max(peak, sum(sizes.values()))
        for name in last[position]:
            del values[name]
            sizes.pop(name)
    return peak


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0

"""Running many batches through a program, step by step, without holding all their values at once.

Where something is learned at a step (a normalisation's statistics, refitted weights), it must hold
for all batches before any of them goes on. So all batches are held at a checkpoint, a step before
which their values are small, and run from there to the next step that learns. Wide layers run
again; narrow layers further on do not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from worker.engine.program import Program, Step, compute

Batch = Mapping[str, Tensor]
"""A model's inputs by name."""

Footprint = tuple[int, int]
"""Bytes of one batch's live values before a step, and while it runs."""


_Passed = tuple[list[Any], Sequence[Any], Mapping[str, Any]]
"""A step's inputs, its outputs where it has run, and all values at the end of the run."""


class CheckpointedRun:
    """Batches on their way through a program, held at the last checkpoint that they have passed.

    The model's inputs are the first checkpoint. Positions are those of steps; they never fall.
    """

    def __init__(
        self, program: Program, batches: Sequence[Batch], checkpoints: Sequence[int]
    ) -> None:
        self._program = program
        self._held: list[dict[str, Any]] = [dict(batch) for batch in batches]
        self._position = 0
        self._checkpoints = checkpoints

    def inputs_of(self, position: int, steps: Sequence[Step]) -> Iterator[list[Any]]:
        """Yield the inputs of the step at a position, batch after batch; all must be consumed.

        `steps` run in the place of the program's own. Those before the position must not change
        any more.

        Raises:
            StepError: a step does not run on its inputs.
        """
        passed = self._run(position, position, steps)
        return (inputs for inputs, _, _ in passed)

    def inputs_and_outputs_of(
        self, position: int, steps: Sequence[Step]
    ) -> Iterator[tuple[list[Any], Sequence[Any]]]:
        """Yield the inputs and the outputs of the step at a position, which must not change either.

        Each call needs a higher position than the last one.

        Raises:
            StepError: a step does not run on its inputs.
        """
        return (
            (inputs, outputs)
            for inputs, outputs, _ in self._run(position, position + 1, steps)
        )

    def values_before(self, position: int) -> Iterator[Mapping[str, Any]]:
        """Yield the values that the step at a position and later ones take, batch after batch.

        All must be consumed.

        Raises:
            StepError: a step does not run on its inputs.
        """
        steps = self._program.steps
        passed = self._run(position, position, steps)
        return (values for _, _, values in passed)

    def _run(self, position: int, end: int, steps: Sequence[Step]) -> Iterator[_Passed]:
        """Compute each batch up to the step at `end`, and hold it at the last checkpoint passed."""
        passed = (at for at in self._checkpoints if self._position < at <= end)
        checkpoint = max(passed, default=self._position)
        for held in self._held:
            yield self._run_batch(held, checkpoint, position, end, steps)
        self._position = checkpoint

    def _run_batch(
        self,
        held: dict[str, Any],
        checkpoint: int,
        position: int,
        end: int,
        steps: Sequence[Step],
    ) -> _Passed:
        """Return the inputs of the step at `position`, the last outputs and the values at `end`."""
        constants = self._program.constants
        values: dict[str, Any] = {**constants, **held}
        inputs: list[Any] = []
        outputs: Sequence[Any] = ()
        for at in range(self._position, end + 1):
            if at == checkpoint:
                live = {
                    name: value
                    for name, value in values.items()
                    if name not in constants
                }
                held.clear()
                held.update(live)
            if at == position < len(steps):
                inputs = [values[name] for name in steps[at].takes]
            if at < end:
                step = steps[at]
                outputs = compute(step, [values[name] for name in step.takes])
                values.update(zip(step.gives, outputs, strict=True))
                for name in self._program.last_uses[at]:
                    del values[name]
        return inputs, outputs, values


def checkpoints(
    footprints: Sequence[Footprint], batches: int, most_bytes: int
) -> list[int]:
    """Return the steps before which the values of all `batches` fit into memory.

    >>> checkpoints([(1, 9), (8, 9), (2, 4)], batches=3, most_bytes=20)
    [0, 2]
    """
    return [
        position
        for position, (held, _) in enumerate(footprints)
        if held * batches <= most_bytes
    ]


def spread(batches: Sequence[Batch], most: int) -> list[Batch]:
    """Return at most `most` of the batches, evenly from first to last.

    Batches of one value range lie side by side; an even choice has some of each range.

    >>> spread([{"x": at} for at in range(9)], 3)
    [{'x': 0}, {'x': 4}, {'x': 8}]
    """
    number = min(most, len(batches))
    last = len(batches) - 1
    return [batches[at * last // max(number - 1, 1)] for at in range(number)]


def measure_footprints(program: Program, batch: Batch) -> list[Footprint]:
    """Return the footprint of every step, measured on one batch.

    Raises:
        StepError: the program does not run on this batch.
    """
    constants = program.constants
    values: dict[str, Any] = dict(batch)
    footprints = []
    pairs = zip(program.steps, program.last_uses, strict=True)
    for step, unneeded in pairs:
        inputs = [
            values[name] if name in values else constants[name] for name in step.takes
        ]
        outputs = compute(step, inputs)
        before = _bytes(values.values())
        after = before + _bytes(outputs)
        footprints.append((before, after))
        named_outputs = zip(step.gives, outputs, strict=True)
        values.update(named_outputs)
        for name in unneeded:
            del values[name]
    return footprints


def _bytes(values: Iterable[object]) -> int:
    """Return the memory of the tensors among some values."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
    return sum(sizes)

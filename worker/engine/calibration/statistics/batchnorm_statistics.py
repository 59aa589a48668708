"""BatchNorm re-estimation: a model's stored statistics replaced by those of given batches.

Stored statistics describe the real data. With the batches' own in their place, every normalised
activation has the mean and the variance that real data would give it. The report calls the model
with these statistics its twin.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.engine.calibration.replay import (
    Batch,
    CheckpointedRun,
    checkpoints,
    measure_footprints,
)
from worker.engine.program import Norm, Program, Step

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""The mean and the variance `(channels,)` that replace a normalisation's stored ones, by the name
of its output."""


@torch.no_grad()
def reestimate_statistics(
    program: Program, batches: Sequence[Batch], held_bytes: int
) -> Statistics:
    """Return the statistics of each normalisation's input, all earlier ones replaced already.

    All batches together take at most `held_bytes` at a checkpoint after the first.

    Raises:
        StepError: the program does not run on these batches.
    """
    footprints = measure_footprints(program, batches[0])
    positions = checkpoints(footprints, len(batches), held_bytes)
    run = CheckpointedRun(program, batches, positions)
    steps = list(program.steps)
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    for position, step in enumerate(program.steps):
        if step.norm is not None:
            inputs = run.inputs_of(position, steps)
            output = step.gives[0]
            statistics[output] = channel_statistics(x for x, *_ in inputs)
            steps[position] = _replaced(step, statistics)
    return statistics


def with_statistics(program: Program, statistics: Statistics) -> Program:
    """Return the program with these statistics, and the stored ones where there are none."""
    steps = tuple(_replaced(step, statistics) for step in program.steps)
    return replace(program, steps=steps)


def channel_statistics(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of every channel (axis 1) over all batches.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979. It stays exact where the mean is large.

    >>> mean, variance = channel_statistics([torch.tensor([[0.0]]), torch.tensor([[2.0]])])
    >>> mean.tolist(), variance.tolist()
    ([1.0], [1.0])
    """
    count = 0
    mean = torch.zeros((), dtype=torch.float64)
    squares = torch.zeros((), dtype=torch.float64)
    dtype = torch.get_default_dtype()
    for x in batches:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        spatial = (1,) * (x.dim() - 2)
        exact = x.double()
        own_mean = exact.mean(axes)
        broadcast = own_mean.reshape(-1, *spatial)
        deviations = exact - broadcast
        # Squared in place: `var_mean` takes up to eight times as long in float64.
        own_variance = deviations.square_().mean(axes)
        size = x.numel() // x.shape[1]
        dtype = x.dtype
        total = max(count + size, 1)
        step = own_mean - mean
        share = count * size / total
        between = step.square() * share
        own_squares = own_variance * size
        squares = squares + own_squares + between
        mean = mean + step * (size / total)
        count += size
    variance = squares / max(count, 1)
    return mean.to(dtype), variance.to(dtype)


def _replaced(step: Step, statistics: Statistics) -> Step:
    """Return the step with its new statistics, itself where there are none."""
    if step.norm is None:
        return step
    output = step.gives[0]
    if output not in statistics:
        return step
    mean, variance = statistics[output]
    norm = replace(step.norm, mean=mean, variance=variance)
    return replace(step, norm=norm, run=lambda x: (_normalise(x, norm),))


def _normalise(x: Tensor, norm: Norm) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) * weight + bias, along axis 1."""
    return torch.nn.functional.batch_norm(
        x, norm.mean, norm.variance, norm.weight, norm.bias, eps=norm.epsilon
    )

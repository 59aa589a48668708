"""The BatchNorm twin: a program whose normalisations use the statistics of the batches that it is run on.

Where a model has layers that normalise by stored statistics, these describe the real data. With the batches' own in
their place, every normalised activation has the mean and the variance that real data would give it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.engine.calibration.replay import Batch, Walk, footprints, resting_places
from worker.engine.program import Norm, Program, Step

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""The mean and the variance that stand for a normalisation's stored ones, by the name of the value it gives."""


@torch.no_grad()
def twin_statistics(program: Program, batches: Sequence[Batch], most_bytes: int) -> Statistics:
    """Return the statistics by which the twin normalises: of each normalisation's inputs behind those before it.

    Raises:
        StepError: the program does not run on these batches.
    """
    walk = Walk(
        program, batches, resting_places(footprints(program, batches[0]), len(batches), most_bytes)
    )
    steps, found = list(program.steps), dict[str, tuple[Tensor, Tensor]]()
    for position, step in enumerate(program.steps):
        if step.norm is not None:
            found[step.gives[0]] = together(taken[0] for taken in walk.reach(position, steps))
            steps[position] = _normalising(step, found)
    return found


def twin(program: Program, statistics: Statistics) -> Program:
    """Return the program normalising by these statistics, and by the stored ones where there are none."""
    return replace(program, steps=tuple(_normalising(step, statistics) for step in program.steps))


def together(inputs: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of every channel (axis 1) over all inputs together."""
    count, mean, squares = (
        0,
        torch.zeros((), dtype=torch.float64),
        torch.zeros((), dtype=torch.float64),
    )
    dtype = torch.get_default_dtype()
    for x in (
        inputs
    ):  # Chan, Golub and LeVeque, "Updating formulae", 1979: exact where the mean is large
        axes = [axis for axis in range(x.dim()) if axis != 1]
        exact = x.double()
        own_mean = exact.mean(axes)
        # The deviations are squared in their own place: `var_mean` takes up to eight times as long in float64.
        deviations = exact - own_mean.reshape(-1, *(1,) * (x.dim() - 2))
        own_variance = deviations.square_().mean(axes)
        size, dtype = x.numel() // x.shape[1], x.dtype
        step = own_mean - mean
        squares = (
            squares + own_variance * size + step.square() * (count * size / max(count + size, 1))
        )
        mean = mean + step * (size / max(count + size, 1))
        count += size
    return mean.to(dtype), (squares / max(count, 1)).to(dtype)


def _normalising(step: Step, statistics: Statistics) -> Step:
    if step.norm is None or step.gives[0] not in statistics:
        return step
    mean, variance = statistics[step.gives[0]]
    norm = replace(step.norm, mean=mean, variance=variance)
    return replace(step, norm=norm, run=lambda x: (_normalise(x, norm),))


def _normalise(x: Tensor, norm: Norm) -> Tensor:
    return torch.nn.functional.batch_norm(
        x, norm.mean, norm.variance, norm.weight, norm.bias, eps=norm.epsilon
    )

"""The moments of every site's inputs, measured on batches of inputs in float64.

The BatchNorm twin: where a model still has layers that normalise by stored statistics, these describe the real data.
With `as_twin` they are replaced, while measuring, by the statistics of the batches themselves, so that every
normalised activation has the mean and the variance that real data would give it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.walk import Batch, Walk
from worker.engine.convolution import Convolution
from worker.engine.moments import Moments
from worker.engine.patches import rows
from worker.engine.program import Norm, Program, Step, compute

_MOST_ROWS = 65536
_ROW_WORK = 20_000_000_000
_FEWEST_ROWS_PER_NUMBER = 2
"""Of a site's patches of m numbers, so many are measured; fewer where their products, m * m each, would add up to more
work than this; but never fewer than two for each number, so that the covariance is not singular for want of them."""

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""The mean and the variance that stand for a normalisation's stored ones, by the name of the value it gives."""


@dataclass(frozen=True)
class Observation:
    """The moments by site, and the statistics by which the twin normalises (none where there is no twin)."""

    moments: Mapping[str, Moments]
    statistics: Statistics


@torch.no_grad()
def observe(
    program: Program, batches: Sequence[Batch], convolutions: Mapping[str, Convolution], *, as_twin: bool
) -> Observation:
    """Measure the moments of the sites whose geometry is given, over all their calls.

    Sites whose inputs are not all finite are left out.

    Raises:
        StepError: the program does not run on these batches.
    """
    walk = Walk(program, batches)
    sums: dict[str, _Sums] = {}
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    for step in walk.steps():
        taken = walk.take(step)
        if step.site is not None and step.site in convolutions:
            convolution = convolutions[step.site]
            collected = sums.setdefault(step.site, _Sums(convolution))
            inputs = [arguments[0] for arguments in taken]
            for x, positions in zip(inputs, sample(convolution, inputs), strict=True):
                collected.add(rows(convolution, x, positions))
        if as_twin and step.norm is not None:
            statistics[step.gives[0]] = batch_statistics([arguments[0] for arguments in taken])
        run = normalised(step, statistics)
        walk.give(step, [run(*arguments) for arguments in taken])
    found = {site: collected.moments() for site, collected in sums.items()}
    return Observation({site: moments for site, moments in found.items() if _is_finite(moments)}, statistics)


def _is_finite(moments: Moments) -> bool:
    return moments.covariance is not None and bool(np.isfinite(moments.covariance).all())


def sample(convolution: Convolution, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Return, for each batch, which of its patches to measure; None for all. The same choice at every run."""
    totals = [count_rows(convolution, x) for x in inputs]
    size = convolution.in_channels // convolution.groups * convolution.k2
    wanted = max(_FEWEST_ROWS_PER_NUMBER * size, min(_MOST_ROWS, _ROW_WORK // (convolution.groups * size * size)))
    if sum(totals) <= wanted:
        return [None] * len(inputs)
    share = wanted / sum(totals)
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(max(total, 1), (min(total, max(1, round(share * total))),), generator=generator)
        for total in totals
    ]


def count_rows(convolution: Convolution, x: Tensor) -> int:
    """Return the number of patches that an input has: its batch times its output positions."""
    axes = len(convolution.kernel)
    if axes == 0:
        return x.numel() // x.shape[-1]
    return x.shape[0] * prod(convolution.output_size(x.shape[-axes:]))


def batch_statistics(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of every channel (axis 1) over all batches together."""
    count = sum(x.numel() // x.shape[1] for x in inputs)
    axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
    mean = torch.stack([x.double().sum(axes) for x in inputs]).sum(0) / count
    shape = (-1, *(1,) * (inputs[0].dim() - 2))
    variance = torch.stack([(x.double() - mean.reshape(shape)).square().sum(axes) for x in inputs]).sum(0) / count
    return mean.to(inputs[0].dtype), variance.to(inputs[0].dtype)


def normalised(step: Step, statistics: Statistics) -> Callable[..., Sequence[Tensor]]:
    """Return how a step is computed: as the model says, or normalising by other statistics where it has such."""
    if step.norm is None or step.gives[0] not in statistics:
        return lambda *taken: compute(step, taken)
    norm, (mean, variance) = step.norm, statistics[step.gives[0]]
    return lambda x: (_normalise(x, norm, mean, variance),)


def _normalise(x: Tensor, norm: Norm, mean: Tensor, variance: Tensor) -> Tensor:
    return torch.nn.functional.batch_norm(x, mean, variance, norm.weight, norm.bias, eps=norm.epsilon)


class _Sums:
    """What is summed over the patches of one site, in float64."""

    def __init__(self, convolution: Convolution) -> None:
        groups, size = convolution.groups, convolution.in_channels // convolution.groups * convolution.k2
        self._count = 0
        self._first = torch.zeros(groups, size, dtype=torch.float64)
        self._second = torch.zeros(groups, size, size, dtype=torch.float64)

    def add(self, patches: Tensor) -> None:
        """Add patches of the shape (rows, groups, m)."""
        exact = patches.double().transpose(0, 1)
        self._count += exact.shape[1]
        self._first += exact.sum(1)
        self._second += exact.mT @ exact

    def moments(self) -> Moments:
        mean = self._first / self._count
        covariance = self._second / self._count - mean[:, :, None] * mean[:, None, :]
        return Moments(mean.numpy(), covariance.numpy())

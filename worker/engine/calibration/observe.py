"""The moments of every site's inputs, summed in float64 over one batch after another, none of which is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.shrink import shrinkage
from worker.engine.calibration.twin import Statistics
from worker.engine.calibration.walk import Batch
from worker.engine.convolution import Convolution
from worker.engine.moments import Moments
from worker.engine.patches import rows
from worker.engine.program import Program, Step, run

_MOST_ROWS = 65536
_ROW_WORK = 20_000_000_000
_FEWEST_ROWS_PER_NUMBER = 2
"""Of a site's patches of m numbers, so many are measured; fewer where their products, m * m each, would add up to more
work than this; but never fewer than two for each number, so that the covariance is not singular for want of them."""


@dataclass(frozen=True)
class Observation:
    """The moments by site, and the statistics by which the twin normalises (none where there is no twin)."""

    moments: Mapping[str, Moments]
    statistics: Statistics


@torch.no_grad()
def observe(
    program: Program, batches: Sequence[Batch], convolutions: Mapping[str, Convolution]
) -> Mapping[str, Moments]:
    """Measure the moments of the sites whose geometry is given, over all their calls.

    Sites whose inputs are not all finite are left out.

    Raises:
        StepError: the program does not run on these batches.
    """
    sums = {site: _Sums(convolution) for site, convolution in convolutions.items()}
    for at, batch in enumerate(batches):

        def watch(step: Step, taken: Sequence[Any], at: int = at) -> None:
            if step.site is not None and step.site in convolutions:
                convolution, x = convolutions[step.site], taken[0]
                sums[step.site].add(rows(convolution, x, sample(convolution, x, len(batches), at)))

        run(program, batch, watch=watch)
    counted = [site for site, collected in sums.items() if collected.count]
    found = {site: sums.pop(site).moments() for site in counted}  # the sums of wide sites take as much again
    return {site: moments for site, moments in found.items() if _is_finite(moments)}


def _is_finite(moments: Moments) -> bool:
    return moments.covariance is not None and bool(np.isfinite(moments.covariance).all())


def sample(convolution: Convolution, x: Tensor, batches: int, seed: int, most_rows: int = _MOST_ROWS) -> Tensor | None:
    """Return which patches of an input to measure, where there are so many batches like it; None for all of them.

    There are to be `most_rows` of all batches, if that is enough. The same choice at every run; another one for another
    seed.
    """
    total = count_rows(convolution, x)
    size = convolution.patch
    wanted = max(
        _FEWEST_ROWS_PER_NUMBER * size, min(_MOST_ROWS, most_rows, _ROW_WORK // (convolution.groups * size * size))
    )
    if total * batches <= wanted:
        return None
    generator = torch.Generator("cpu").manual_seed(seed)  # the same choice on every device
    return torch.randint(max(total, 1), (min(total, -(-wanted // batches)),), generator=generator, device="cpu")


def count_rows(convolution: Convolution, x: Tensor) -> int:
    """Return the number of patches that an input has: its batch times its output positions (transposed: its own)."""
    axes = len(convolution.kernel)
    if axes == 0:
        return x.numel() // x.shape[-1]
    if convolution.transposed:
        return x.numel() // x.shape[1]
    return x.shape[0] * prod(convolution.output_size(x.shape[-axes:]))


class _Sums:
    """What is summed over the patches of one site, in float64."""

    def __init__(self, convolution: Convolution) -> None:
        groups, size = convolution.groups, convolution.patch
        self.count = 0
        self._first = torch.zeros(groups, size, dtype=torch.float64)
        self._second = torch.zeros(groups, size, size, dtype=torch.float64)

    def add(self, patches: Tensor) -> None:
        """Add patches of the shape (rows, groups, m)."""
        exact = patches.double().transpose(0, 1)
        self.count += exact.shape[1]
        self._first += exact.sum(1)
        self._second += exact.mT @ exact

    def moments(self) -> Moments:
        """Return what was summed as moments, in the place of the sums."""
        mean = self._first / self.count
        covariance = self._second.div_(self.count)
        covariance -= mean[:, :, None] * mean[:, None, :]
        share = shrinkage(covariance, self.count)[:, None]
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(1)[:, None]
        covariance *= 1 - share[:, None]
        diagonal += share * variance
        return Moments(mean.numpy(force=True), covariance.numpy(force=True))

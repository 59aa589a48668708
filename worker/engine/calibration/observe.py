"""The moments of every site's inputs, summed over one batch after another, none of which is kept."""

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
from worker.engine.moments import WIDE, Moments
from worker.engine.patches import products, rows
from worker.engine.program import Program, Step, run

_MOST_ROWS = 65536
_ROW_WORK = 20_000_000_000
_FEWEST_ROWS_PER_NUMBER = 2
"""Of a site's patches of m numbers, so many are measured; fewer where their products, m * m each, would add up to more
work than this; but never fewer than two for each number, so that the covariance is not singular for want of them."""
_ROWS_AT_ONCE = 4
"""For so many numbers in a patch a row is waited for, before products are taken."""


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
    sums = {site: Sums(convolution) for site, convolution in convolutions.items()}
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


class Sums:
    """What is summed over the patches of one site, about a point near their mean; wide patches in their own precision.

    Products are taken of many rows at a time: adding one to the sums takes as long as an eighth of it then.
    """

    def __init__(self, convolution: Convolution) -> None:
        self._convolution = convolution
        self.count = 0
        self._waiting: list[Tensor] = []
        self._origin: Tensor | None = None
        self._first = torch.zeros(convolution.groups, convolution.patch, dtype=torch.float64)
        self._second: Tensor | None = None

    def add(self, patches: Tensor) -> None:
        """Add patches of the shape (rows, groups, m)."""
        self.count += len(patches)
        self._waiting.append(patches)
        if sum(map(len, self._waiting)) >= self._convolution.patch // _ROWS_AT_ONCE:
            self._sum()

    def _sum(self) -> None:
        """Sum what is waiting."""
        together = torch.cat(self._waiting).transpose(0, 1)
        self._waiting.clear()
        rows = together if self._convolution.patch > WIDE else together.double()
        if self._origin is None:
            self._origin = rows.mean(1, keepdim=True)
        rows = rows - self._origin
        self._first += rows.sum(1, dtype=torch.float64)
        product = products(rows)
        self._second = product if self._second is None else self._second.add_(product)

    def moments(self) -> Moments:
        """Return what was summed as moments, in the place of the sums."""
        if self._waiting:
            self._sum()
        assert self._second is not None  # something was added
        assert self._origin is not None
        second = self._second.double().div_(self.count)
        off = self._first / self.count
        second.baddbmm_(off[:, :, None], off[:, None, :], alpha=-1)
        share = shrinkage(second, self.count)[:, None]
        diagonal = second.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(1)[:, None]
        second *= 1 - share[:, None]
        diagonal += share * variance
        mean = self._origin[:, 0] + off
        return Moments(mean.numpy(force=True), second.to(self._second.dtype).numpy(force=True))

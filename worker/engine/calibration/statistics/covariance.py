"""The moments of every site's inputs, summed over one batch after another, none of which is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.replay import Batch
from worker.engine.calibration.statistics.batchnorm_statistics import Statistics
from worker.engine.calibration.statistics.shrinkage import shrinkage
from worker.engine.numerics import device, memory
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.moments import WIDE, Moments
from worker.engine.numerics.patches import products, rows
from worker.engine.numerics.symmetric import Symmetric, bands_of
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


def observe(
    program: Program, batches: Sequence[Batch], convolutions: Mapping[str, Convolution]
) -> Mapping[str, Moments]:
    """Measure the moments of the sites whose geometry is given, over all their calls.

    Sites whose inputs are not all finite are left out.

    Raises:
        StepError: the program does not run on these batches.
    """
    observer = Observer(convolutions, len(batches))
    observer.add(program, batches)
    return observer.taken()


class Observer:
    """Sums over every site's patches, to which those of more batches can be added."""

    def __init__(self, convolutions: Mapping[str, Convolution], batches: int) -> None:
        """Observe sites of these geometries; `batches` are to give all the patches that are wanted of each."""
        self._convolutions, self._batches = convolutions, batches
        self._sums = {site: Sums(convolution) for site, convolution in convolutions.items()}
        self._behind = 0

    @torch.no_grad()
    def add(self, program: Program, batches: Sequence[Batch]) -> None:
        """Run a program on batches.

        Raises:
            StepError: the program does not run on them.
        """

        def watch(step: Step, taken: Sequence[Any]) -> None:
            memory.give_back_files()  # else all layers' weights are held beside the largest one's
            if step.site is not None and step.site in self._convolutions:
                convolution, x = self._convolutions[step.site], taken[0]
                self._sums[step.site].add(
                    rows(convolution, x, sample(convolution, x, self._batches, self._behind))
                )

        for batch in batches:
            run(program, batch, watch=watch)
            memory.give_back()
            self._behind += 1

    def moments(self) -> Iterator[tuple[str, Moments]]:
        """Yield the moments of one site after another, as they are by now."""
        return ((site, sums.moments()) for site, sums in self._sums.items() if sums.count)

    def taken(self) -> Mapping[str, Moments]:
        """Return the moments of all sites whose inputs are finite, in the place of the sums, which take as much."""
        counted = [site for site, sums in self._sums.items() if sums.count]
        found = {site: self._sums.pop(site).moments() for site in counted}
        return {site: moments for site, moments in found.items() if _is_finite(moments)}


def _is_finite(moments: Moments) -> bool:
    return moments.held is not None and moments.held.is_finite()


def sample(
    convolution: Convolution, x: Tensor, batches: int, seed: int, most_rows: int = _MOST_ROWS
) -> Tensor | None:
    """Return which patches of an input to measure, where there are so many batches like it; None for all of them.

    There are to be `most_rows` of all batches, if that is enough. The same choice at every run; another one for another
    seed.
    """
    total = count_rows(convolution, x)
    size = convolution.patch
    wanted = max(
        _FEWEST_ROWS_PER_NUMBER * size,
        min(_MOST_ROWS, most_rows, _ROW_WORK // (convolution.groups * size * size)),
    )
    if total * batches <= wanted:
        return None
    generator = torch.Generator("cpu").manual_seed(seed)  # the same choice on every device
    return torch.randint(
        max(total, 1), (min(total, -(-wanted // batches)),), generator=generator, device="cpu"
    )


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

    Products are summed in the bands that `Symmetric` holds, and of many rows at a time: adding one to the sums takes as
    long as an eighth of it then.
    """

    def __init__(self, convolution: Convolution) -> None:
        self._convolution = convolution
        self.count = 0
        self._waiting: list[Tensor] = []
        self._origin: Tensor | None = None
        self._first = torch.zeros(convolution.groups, convolution.patch, dtype=torch.float64)
        self._spans = bands_of(convolution.patch)
        self._second: list[Tensor] = []

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
        if not self._second:
            self._second = [
                rows.new_zeros(len(rows), end - start, end) for start, end in self._spans
            ]
        for (start, end), band in zip(self._spans, self._second, strict=True):
            own = rows[:, :, start:end]
            band[:, :, start:] += products(own)
            if start:
                band[:, :, :start].baddbmm_(own.mT, rows[:, :, :start])

    def covariance(self) -> tuple[Tensor, Tensor]:
        """Return the mean `(groups, m)` and the covariance `(groups, m, m)` of what was summed, both in float64."""
        mean, bands = self._centred()
        whole = Symmetric(tuple(band.numpy(force=True) for band in bands)).whole()
        return mean, device.placed(torch.from_numpy(whole))

    def moments(self) -> Moments:
        """Return the mean, and the covariance drawn towards one without directions where rows are few."""
        mean, bands = self._centred()
        square, diagonals = torch.zeros(len(mean), dtype=mean.dtype, device=mean.device), []
        for (start, _), band in zip(self._spans, bands, strict=True):
            own = band[:, :, start:]
            square += torch.linalg.matrix_norm(own).square() + 2 * band[:, :, :start].square().sum(
                (1, 2)
            )
            diagonals.append(own.diagonal(dim1=1, dim2=2).clone())
        variances = torch.cat(diagonals, 1)
        share = shrinkage(square, variances, self.count)[:, None]
        added = share * variances.mean(1)[:, None]
        drawn = []
        for (start, _), band in zip(self._spans, self._centred()[1], strict=True):
            band *= 1 - share[:, None]
            band[:, :, start:].diagonal(dim1=1, dim2=2).add_(added)
            drawn.append(band.to(self._second[0].dtype).numpy(force=True))
        return Moments(mean.numpy(force=True), Symmetric(tuple(drawn)))

    def _centred(self) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the mean, and the covariance's bands, one after another, as arrays of their own; all in float64."""
        if self._waiting:
            self._sum()
        assert self._origin is not None  # something was added
        off = self._first / self.count
        pairs = zip(self._spans, self._second, strict=True)
        bands = (
            band.to(torch.float64, copy=True)
            .div_(self.count)
            .baddbmm_(off[:, start:end, None], off[:, None, :end], alpha=-1)
            for (start, end), band in pairs
        )
        return self._origin[:, 0] + off, bands

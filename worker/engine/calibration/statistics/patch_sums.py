"""The mean and the covariance of one site's patches, summed over one batch after another."""

from collections.abc import Iterator

import torch
from torch import Tensor

from worker.engine.calibration.statistics.shrinkage import oas_intensity
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.moments import WIDE, Moments
from worker.engine.numerics.patches import products
from worker.engine.numerics.symmetric import Symmetric, bands_of

# Rows wait until there is one for each four numbers of a patch: adding their products to the sums
# then takes an eighth of the time that the products take, or less.
_NUMBERS_PER_ROW = 4
_LARGEST = 1e15


class PatchSums:
    """Sums over patches `(rows, groups, m)`, about a point near their mean.

    Products are in the patches' own precision: about the mean its rounding is far below the floor
    of every variance. Their sums are in float64 for patches of up to `WIDE` numbers, and else in
    the same precision, in the bands that `Symmetric` holds.

    >>> sums = PatchSums(Convolution((4, 3), (), (), ()))
    >>> sums.add(torch.tensor([[[0.0, 1.0, 5.0]], [[2.0, 1.0, 5.0]]]))
    >>> mean, covariance = sums.covariance()
    >>> mean.tolist()
    [[1.0, 1.0, 5.0]]
    >>> covariance[0].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, convolution: Convolution) -> None:
        self._convolution = convolution
        self.count = 0
        self._waiting: list[Tensor] = []
        self._origin: Tensor | None = None
        shape = (convolution.groups, convolution.patch)
        self._first = torch.zeros(shape, dtype=torch.float64)
        self._spans = bands_of(convolution.patch)
        self._second: list[Tensor] = []

    def add(self, patches: Tensor) -> None:
        """Add patches `(rows, groups, m)`; heads of a detector that found nothing have no rows."""
        if not len(patches):
            return
        self.count += len(patches)
        self._waiting.append(patches)
        waiting = sum(map(len, self._waiting))
        if waiting >= self._convolution.patch // _NUMBERS_PER_ROW:
            self._sum_waiting()

    def _sum_waiting(self) -> None:
        """Add the waiting rows to the sums."""
        rows = torch.cat(self._waiting).transpose(0, 1)
        self._waiting.clear()
        if self._origin is None:
            # Products of large numbers would lose the digits in which they differ.
            self._origin = rows.mean(1, keepdim=True)
        rows = rows - self._origin
        # The products of larger numbers are beyond single precision.
        if self._convolution.patch <= WIDE and rows.abs().amax() > _LARGEST:
            rows = rows.double()
        self._first += rows.sum(1, dtype=torch.float64)
        if not self._second:
            self._second = self._empty_bands(rows)
        pairs = zip(self._spans, self._second, strict=True)
        for (start, end), band in pairs:
            own = rows[:, :, start:end]
            band[:, :, start:] += products(own)
            # Patches that are summed in another precision have one band.
            if start:
                left = rows[:, :, :start]
                from_start = band[:, :, :start]
                from_start.baddbmm_(own.mT, left)

    def _empty_bands(self, like: Tensor) -> list[Tensor]:
        """Return zeros `(groups, rows, end)` for every band."""
        groups = len(like)
        is_wide = self._convolution.patch > WIDE
        dtype = like.dtype if is_wide else torch.float64
        bands = []
        for start, end in self._spans:
            bands.append(like.new_zeros((groups, end - start, end), dtype=dtype))
        return bands

    def covariance(self) -> tuple[Tensor, Tensor]:
        """Return the mean `(groups, m)` and the covariance `(groups, m, m)`, both in float64."""
        mean, bands = self._centred()
        arrays = [band.numpy(force=True) for band in bands]
        symmetric = Symmetric(tuple(arrays))
        whole = symmetric.whole()
        return mean, device.placed(torch.from_numpy(whole))

    def moments(self) -> Moments:
        """Return the mean and the covariance, shrunk towards the identity where rows are few."""
        mean, bands = self._centred()
        square, variances = self._square_and_diagonal(mean, bands)
        intensity = oas_intensity(square, variances, self.count)[:, None]
        mean_variances = variances.mean(1)
        added = intensity * mean_variances[:, None]
        dtype = self._second[0].dtype
        shrunk = []
        # The bands are computed a second time rather than all held at once.
        _, bands = self._centred()
        pairs = zip(self._spans, bands, strict=True)
        for (start, _), band in pairs:
            column = intensity[:, None]
            band *= 1 - column
            own = band[:, :, start:]
            diagonal = own.diagonal(dim1=1, dim2=2)
            diagonal.add_(added)
            shrunk.append(band.to(dtype).numpy(force=True))
        covariance = Symmetric(tuple(shrunk))
        return Moments(mean.numpy(force=True), covariance)

    def _square_and_diagonal(
        self, mean: Tensor, bands: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of all squares `(groups,)` and the variances `(groups, m)`."""
        square = torch.zeros(len(mean), dtype=mean.dtype, device=mean.device)
        diagonals = []
        pairs = zip(self._spans, bands, strict=True)
        for (start, _), band in pairs:
            own = band[:, :, start:]
            left = band[:, :, :start].square()
            norm = torch.linalg.matrix_norm(own)
            # What lies left of the diagonal square lies above it as well.
            beside = left.sum((1, 2))
            square += norm.square() + 2 * beside
            diagonal = own.diagonal(dim1=1, dim2=2)
            # A view would keep the band in memory.
            diagonals.append(diagonal.clone())
        return square, torch.cat(diagonals, 1)

    def _centred(self) -> tuple[Tensor, Iterator[Tensor]]:
        """Return the mean, and one after another the covariance's bands; all in float64.

        With the sums S1 and S2 about an origin o, the mean is o + d for d = S1 / count, and the
        covariance S2 / count - d d^T.
        """
        if self._waiting:
            self._sum_waiting()
        assert self._origin is not None  # something was added
        offset = self._first / self.count
        mean = self._origin[:, 0] + offset
        return mean, self._centred_bands(offset)

    def _centred_bands(self, offset: Tensor) -> Iterator[Tensor]:
        """Yield the bands of S2 / count - d d^T, given the offset d `(groups, m)`."""
        row = offset[:, None]
        pairs = zip(self._spans, self._second, strict=True)
        for (start, end), band in pairs:
            exact = band.to(torch.float64, copy=True)
            mean_product = exact.div_(self.count)
            column = offset[:, start:end, None]
            left = row[:, :, :end]
            yield mean_product.baddbmm_(column, left, alpha=-1)

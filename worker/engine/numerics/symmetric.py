"""Symmetric matrices stored in bands of rows up to the diagonal: little more than half if wide."""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics.convolution import Array

_WIDEST_WHOLE = 1024
_BAND = 512


def bands_of(size: int) -> list[tuple[int, int]]:
    """Return the first and the last row of each band of matrices of `size` rows.

    Narrow matrices have one band.

    >>> bands_of(1024), bands_of(1100)
    ([(0, 1024)], [(0, 512), (512, 1024), (1024, 1100)])
    """
    if size <= _WIDEST_WHOLE:
        return [(0, size)]
    starts = range(0, size, _BAND)
    return [(start, min(start + _BAND, size)) for start in starts]


@dataclass(frozen=True)
class Symmetric:
    """Matrices `(groups, m, m)`: of each band of rows, up to its end, `(groups, rows, end)`.

    The square on the diagonal in which a band ends is stored whole.
    """

    bands: tuple[Array, ...]

    @classmethod
    def of(cls, matrices: Array) -> "Symmetric":
        """Store matrices `(groups, m, m)`."""
        size = matrices.shape[-1]
        spans = bands_of(size)
        bands = [matrices[:, start:end, :end].copy() for start, end in spans]
        return cls(tuple(bands))

    def whole(self) -> Array:
        """Return the matrices, as an array of their own.

        >>> bool((Symmetric.of(np.ones((1, 2000, 2000))).whole() == 1).all())
        True
        """
        groups, _, size = self.bands[-1].shape
        dtype = self.bands[0].dtype
        matrices = np.empty((groups, size, size), dtype)
        pairs = zip(bands_of(size), self.bands, strict=True)
        for (start, end), band in pairs:
            # what lies above the diagonal is the mirror image of what lies below
            matrices[:, start:end, :end] = band
            left = band[:, :, :start]
            matrices[:, :start, start:end] = left.swapaxes(1, 2)
        return matrices

    def times(self, columns: Array) -> Array:
        """Return the matrices times columns `(m, k)`, `(groups, m, k)`."""
        groups, _, size = self.bands[-1].shape
        dtype = np.result_type(self.bands[0], columns)
        product = np.zeros((groups, *columns.shape), dtype)
        pairs = zip(bands_of(size), self.bands, strict=True)
        for (start, end), band in pairs:
            product[:, start:end] += band @ columns[:end]
            left = band[:, :, :start]
            mirrored = left.swapaxes(1, 2)
            below = columns[start:end]
            product[:, :start] += mirrored @ below
        return product

    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        return all(bool(np.isfinite(band).all()) for band in self.bands)

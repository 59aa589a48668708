"""Symmetric matrices of which, where they are wide, little more than half is held: bands of rows up to the diagonal."""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics.convolution import Array

_WIDEST_WHOLE, _BAND = 1024, 512


def bands_of(size: int) -> list[tuple[int, int]]:
    """Return between which rows the bands lie of matrices of so many rows: one band where they are narrow.

    >>> bands_of(1024), bands_of(1100)
    ([(0, 1024)], [(0, 512), (512, 1024), (1024, 1100)])
    """
    if size <= _WIDEST_WHOLE:
        return [(0, size)]
    return [(start, min(start + _BAND, size)) for start in range(0, size, _BAND)]


@dataclass(frozen=True)
class Symmetric:
    """Matrices `(groups, m, m)`: of each band of rows, up to the last one's diagonal, an array `(groups, rows, end)`.

    The square on the diagonal in which a band ends is held whole.
    """

    bands: tuple[Array, ...]

    @classmethod
    def of(cls, matrices: Array) -> "Symmetric":
        """Return what is held of matrices `(groups, m, m)`."""
        return cls(
            tuple(
                matrices[:, start:end, :end].copy() for start, end in bands_of(matrices.shape[-1])
            )
        )

    def whole(self) -> Array:
        """Return the matrices, as an array of their own.

        >>> bool((Symmetric.of(np.ones((1, 2000, 2000))).whole() == 1).all())
        True
        """
        groups, _, size = self.bands[-1].shape
        found = np.empty((groups, size, size), self.bands[0].dtype)
        for (start, end), band in zip(bands_of(size), self.bands, strict=True):
            found[:, start:end, :end] = band
            found[:, :start, start:end] = band[:, :, :start].swapaxes(1, 2)
        return found

    def times(self, columns: Array) -> Array:
        """Return the matrices times columns `(m, k)`, `(groups, m, k)`."""
        groups, _, size = self.bands[-1].shape
        found = np.zeros((groups, *columns.shape), np.result_type(self.bands[0], columns))
        for (start, end), band in zip(bands_of(size), self.bands, strict=True):
            found[:, start:end] += band @ columns[:end]
            found[:, :start] += band[:, :, :start].swapaxes(1, 2) @ columns[start:end]
        return found

    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        return all(bool(np.isfinite(band).all()) for band in self.bands)

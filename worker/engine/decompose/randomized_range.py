"""The leading directions of a matrix both of whose sides are long, without factoring all of it.

A randomised range finder: signed sums of the columns of `W C` hint at the outputs' leading directions, `W^T` takes
these to rows, and what such rows explain is computed exactly. The eigenproblem is as large as the number of directions
that are looked for, not as a side. What the directions behind them explain is estimated from where these leave off.

Sources: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53 (2011), section 4.5, with half
a step of its power iteration; Clarkson and Woodruff, "Low Rank Approximation and Regression in Input Sparsity Time",
STOC 2013, for the signed sums.
"""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array

_LONG = 2048
"""The longest smaller side of a matrix that is factored whole."""
_MOST, _WORK = 512, 30_000_000_000
"""Directions whose strengths are found: no more than this, nor than a product of so much work with the matrix takes."""
_BEYOND = 5 / 4
"""For each row that is wanted so many directions are looked for: the last ones that are found are poor."""
_ROUNDING = float(np.finfo(np.float32).eps)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Range:
    """The rows that were found, `found` `(..., width, s)`, and what the outputs have of them once they are whitened.

    Under the covariance `whitening @ found` are uncorrelated and of variance 1; `explained` `(..., width, width)` is
    what they explain together, of the `energy` `(...,)` of the outputs. The products with the matrix are in float32,
    those of what was found in float64.
    """

    found: Array
    whitening: Array
    explained: Array
    energy: Array

    def spectrum(self, side: int) -> Array:
        """Return what each of the `side` leading rows explains, the most first: as found, and behind that as estimated.

        The energy that is left behind r rows is estimated by the power of `side - r` that continues what was found, as
        steeply as its last quarter falls.
        """
        values: Array = np.maximum(linalg.eigvalsh(self.explained)[..., ::-1], 0)
        width = values.shape[-1]
        left = np.maximum(self.energy - values.sum(-1), 0)[..., None]
        last = values[..., width * 3 // 4 :].mean(-1)[..., None]
        power = np.maximum(last * (side - width) / np.maximum(left, _TINY), 1)
        behind = np.linspace(1, 0, side - width + 1)
        return np.concatenate([values, -np.diff(left * behind**power)], axis=-1)

    def rows(self, rank: int) -> Array:
        """Return the leading rows, `(..., rank, s)`, uncorrelated under the covariance and of variance 1."""
        _, vectors = linalg.leading(self.explained, rank)
        turn = vectors.swapaxes(-1, -2) @ self.whitening
        rows: Array = turn.astype(self.found.dtype) @ self.found
        return rows


def width(n: int, size: int) -> int:
    """Return of how many directions of a matrix `(n, size)` the spectrum is found: all, unless both sides are long.

    >>> width(512, 4608), width(4096, 4096), width(4096, 25088)
    (512, 512, 291)
    """
    side = min(n, size)
    return side if side <= _LONG else max(1, min(_MOST, _WORK // (n * size)))


def directions(n: int, size: int, rank: int) -> int:
    """Return how many directions are to be looked for where so many rows of a matrix `(n, size)` are wanted.

    >>> directions(4096, 4096, 100), directions(4096, 4096, 1000), directions(4096, 4096, 4000)
    (512, 1250, 4096)
    """
    return min(n, size, max(width(n, size), round(_BEYOND * rank)))


def find(weight: Array, covariance: Array | None, count: int) -> Range:
    """Find `count` rows of weights `(..., n, s)` under a covariance `(..., s, s)`; the same ones every time."""
    single, scale = _in_single(weight)
    product, variance = single, 1.0
    if covariance is not None:
        seen, variance = _in_single(covariance)
        product = single @ seen
    hints = _signed_sums(product, count)
    hints = hints @ _whitening(_gram(hints, hints)).swapaxes(-1, -2).astype(hints.dtype)
    found = hints.swapaxes(-1, -2) @ single
    outputs = product @ found.swapaxes(-1, -2)
    whitening = _whitening(_gram(hints, outputs))
    white = outputs.astype(np.float64) @ whitening.swapaxes(-1, -2)
    explained = white.swapaxes(-1, -2) @ white
    unit = scale * scale * variance
    energy = np.vecdot(product, single).sum(-1, dtype=np.float64)
    return Range(found, whitening / np.sqrt(variance), explained * unit, energy * unit)


def _in_single(array: Array) -> tuple[Array, float]:
    """Return an array in float32, and what it was divided by so that it fits into that."""
    if array.dtype == np.float32:
        return array, 1.0
    scale = float(np.abs(array).max()) or 1.0
    return (array / scale).astype(np.float32), scale


def _signed_sums(matrix: Array, count: int) -> Array:
    """Return sums `(..., n, count)` of the columns of a matrix, each of which goes into one with a sign at random."""
    sums = np.zeros((*matrix.shape[:-1], count), matrix.dtype)
    signs = np.random.default_rng(0).choice(np.array([-1, 1], matrix.dtype), matrix.shape[-1])
    for start in range(0, matrix.shape[-1], count):
        columns = matrix[..., start : start + count]
        sums[..., : columns.shape[-1]] += columns * signs[start : start + count]
    return sums


def _gram(left: Array, right: Array) -> Array:
    product: Array = left.swapaxes(-1, -2).astype(np.float64) @ right.astype(np.float64)
    return (product + product.swapaxes(-1, -2)) / 2


def _whitening(gram: Array) -> Array:
    """Return `L^-1` for `G = L L^T`, with what rounding may have taken from G's diagonal put back."""
    diagonal = np.arange(gram.shape[-1])
    gram = gram.copy()
    gram[..., diagonal, diagonal] += _ROUNDING * np.einsum("...ii->...", gram)[..., None] + _TINY
    return np.linalg.inv(np.linalg.cholesky(gram))

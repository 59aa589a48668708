"""The leading directions of a matrix both of whose sides are long, without factoring all of it.

In a randomised range finder, signed sums of the columns of `W C` approximate the outputs' leading
directions, `W^T` takes these to rows, and the energy that the rows explain is computed exactly.
The eigenproblem is as large as the number of directions, not as a side. The energy of the
directions beyond these is extrapolated.

Sources: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53 (2011),
section 4.5, with half a step of its power iteration; Clarkson and Woodruff, "Low Rank Approximation
and Regression in Input Sparsity Time", STOC 2013, for the signed sums.
"""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array

_LONG = 2048
"""The longest smaller side of a matrix that is factored whole."""
_MOST = 512
"""The most directions whose strengths are computed."""
_WORK = 30_000_000_000
"""The most multiply-accumulates of a product of the directions with the matrix."""
_BEYOND = 5 / 4
"""The directions that are computed for each row that is needed: the last ones are poor."""
_ROUNDING = float(np.finfo(np.float32).eps)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Range:
    """Rows, and the energy of the outputs that they explain.

    The products with the matrix are in float32, those of the basis in float64.

    Attributes:
        basis: the rows, `(..., width, s)`.
        whitening: `(..., width, width)`; under the covariance `whitening @ basis` are uncorrelated
            and of variance 1.
        explained: `(..., width, width)`, the energy that they explain together.
        energy: `(...,)`, that of the outputs.
    """

    basis: Array
    whitening: Array
    explained: Array
    energy: Array

    def spectrum(self, side: int) -> Array:
        """Return the energy that each of the `side` leading rows explains, the most first.

        Beyond the width of the basis it is an estimate: the energy that r rows leave is the power
        of `side - r` that continues the spectrum as steeply as its last quarter falls.

        Args:
            side: the number of rows, the smaller side of the matrix.

        Returns:
            `(..., side)`.
        """
        ascending = linalg.eigvalsh(self.explained)
        descending = ascending[..., ::-1]
        values: Array = np.maximum(descending, 0)
        width = values.shape[-1]
        explained = values.sum(-1)
        unexplained = np.maximum(self.energy - explained, 0)
        left = unexplained[..., None]
        last_quarter = values[..., width * 3 // 4 :]
        last = last_quarter.mean(-1)[..., None]
        # the power with which left * share^power falls by `last` at its first step
        missing = side - width
        floor = np.maximum(left, _TINY)
        steepness = last * missing / floor
        # a power below 1 would make the spectrum rise again
        power = np.maximum(steepness, 1)
        shares = np.linspace(1, 0, missing + 1)
        curve = left * shares**power
        estimate = -np.diff(curve)
        return np.concatenate([values, estimate], axis=-1)

    def rows(self, rank: int) -> Array:
        """Return the leading rows, `(..., rank, s)`, uncorrelated and of variance 1."""
        _, vectors = linalg.leading(self.explained, rank)
        turn = vectors.mT @ self.whitening
        rows: Array = turn.astype(self.basis.dtype) @ self.basis
        return rows


def width(n: int, size: int) -> int:
    """Return the number of directions of a matrix `(n, size)` whose strengths are computed.

    It is all of them unless both sides are long.

    >>> width(512, 4608), width(4096, 4096), width(4096, 25088)
    (512, 512, 291)
    """
    side = min(n, size)
    if side <= _LONG:
        return side
    return max(1, min(_MOST, _WORK // (n * size)))


def directions(n: int, size: int, rank: int) -> int:
    """Return the number of directions to compute for `rank` rows of a matrix `(n, size)`.

    >>> directions(4096, 4096, 100), directions(4096, 4096, 1000), directions(4096, 4096, 4000)
    (512, 1250, 4096)
    """
    return min(n, size, max(width(n, size), round(_BEYOND * rank)))


def find(weight: Array, covariance: Array | None, count: int) -> Range:
    """Find `count` rows of weights `(..., n, s)` under a covariance `(..., s, s)`.

    The signs are seeded: the same weights give the same rows.

    Args:
        weight: `(..., n, s)`.
        covariance: `(..., s, s)`, or None for the identity.
        count: the number of rows, the width of the basis.
    """
    single, scale = _in_single(weight)
    product, variance = single, 1.0
    if covariance is not None:
        single_covariance, variance = _in_single(covariance)
        product = single @ single_covariance
    # an orthonormal basis of the signed sums approximates the outputs' leading directions
    hints = _signed_sums(product, count)
    hint_gram = _gram(hints, hints)
    whitener = _whitening(hint_gram).mT
    single_whitener = whitener.astype(hints.dtype)
    hints = hints @ single_whitener
    # half a step of the power iteration: W^T takes the directions to rows
    basis = hints.mT @ single
    outputs = product @ basis.mT
    output_gram = _gram(hints, outputs)
    whitening = _whitening(output_gram)
    # the energy that the rows explain is exact, and so in double precision
    white = outputs.astype(np.float64) @ whitening.mT
    explained = white.mT @ white
    # what was divided out of weights and covariance comes back
    unit = scale * scale * variance
    energies = np.vecdot(product, single)
    energy = energies.sum(-1, dtype=np.float64)
    scaled_whitening = whitening / np.sqrt(variance)
    scaled_energy = energy * unit
    scaled_explained = explained * unit
    return Range(basis, scaled_whitening, scaled_explained, scaled_energy)


def _in_single(array: Array) -> tuple[Array, float]:
    """Return an array in float32, and the divisor that makes it fit into that."""
    if array.dtype == np.float32:
        return array, 1.0
    scale = float(np.abs(array).max()) or 1.0
    scaled = array / scale
    return scaled.astype(np.float32), scale


def _signed_sums(matrix: Array, count: int) -> Array:
    """Return sums `(..., n, count)` of a matrix's columns, each in one sum with a random sign."""
    sums = np.zeros((*matrix.shape[:-1], count), matrix.dtype)
    choices = np.array([-1, 1], matrix.dtype)
    length = matrix.shape[-1]
    random = np.random.default_rng(0)
    signs = random.choice(choices, length)
    for start in range(0, length, count):
        columns = matrix[..., start : start + count]
        own_signs = signs[start : start + count]
        number = columns.shape[-1]
        sums[..., :number] += columns * own_signs
    return sums


def _gram(left: Array, right: Array) -> Array:
    product: Array = left.mT.astype(np.float64) @ right.astype(np.float64)
    return (product + product.mT) / 2


def _whitening(gram: Array) -> Array:
    """Return `L^-1` for `G = L L^T`, after restoring what rounding may have taken from G."""
    diagonal = np.arange(gram.shape[-1])
    gram = gram.copy()
    # the products are of float32 factors: their rounding is relative to the trace
    traces = np.einsum("...ii->...", gram)
    trace = traces[..., None]
    gram[..., diagonal, diagonal] += _ROUNDING * trace + _TINY
    root = np.linalg.cholesky(gram)
    return np.linalg.inv(root)

"""Least-squares fits of a second layer from its normal equations, on a ridge where they need one.

For a first layer D the best second one under the covariance C is `P = W C D^T (D C D^T)^-1`. With
the Cholesky factor `D C D^T = L L^T` the rows of D explain `||Y||^2` of the energy of the outputs,
`Y = W C D^T L^-T`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array

_ATTEMPTS = 3
_MOST_COPIED = 1024
"""The most rows of equations that are copied into a larger matrix, of 20 MB at the most.

One step on a stack of matrices is faster than one for each.
"""
_RIDGE_GROWTH = 1000


def whitened(gram: Array, cross: Array) -> Array:
    """Return `Y = W C D^T L^-T`, by whose squares the rows of D explain the outputs' energy.

    Large equations are overwritten. Y is a corner of the Cholesky factor of the matrix that has
    `D C D^T` and `W C D^T` on its left; its last corner does not matter as long as it is large.

    Args:
        gram: `D C D^T`, `(..., R, R)`.
        cross: `W C D^T`, `(..., n, R)`.

    Returns:
        `(..., n, R)`.

    Raises:
        LinAlgError: a matrix is not finite, or not positive at all.
    """
    n, size = cross.shape[-2:]
    ridge = _ridge(gram)
    if size > _MOST_COPIED:
        return _whitened_in_place(gram, cross, ridge)
    # the factor of ((G, c^T), (c, large)) has c L^-T below L: one step instead of two
    batch_axes = gram.shape[:-2]
    side = size + n
    joint = np.zeros((*batch_axes, side, side), gram.dtype)
    joint[..., :size, :size] = gram
    joint[..., size:, :size] = cross
    # large on the last diagonal keeps the whole matrix positive definite
    last = np.arange(size, side)
    largest = np.finfo(gram.dtype).max
    joint[..., last, last] = np.sqrt(largest)
    corner = joint[..., :size, :size]
    root = partial(linalg.cholesky, joint)
    factor = _on_ridge(root, corner, ridge)
    return factor[..., size:, :size]


def _whitened_in_place(gram: Array, cross: Array, ridge: Array) -> Array:
    rows = []
    for each, least, right in zip(gram, ridge, cross, strict=True):
        factored = partial(linalg.whitened, each, right)
        rows.append(_on_ridge(factored, each, least))
    return np.stack(rows)


def solved(gram: Array, cross: Array) -> Array:
    """Return the best second layer, `P = W C D^T (D C D^T)^-1`.

    Args:
        gram: `D C D^T`, `(..., R, R)`.
        cross: `W C D^T`, `(..., n, R)`.

    Returns:
        `(..., n, R)`.
    """
    diagonal = np.arange(gram.shape[-1])
    # the caller's equations stay as they are
    gram = gram.copy()
    gram[..., diagonal, diagonal] += _ridge(gram)
    return linalg.solve(gram, cross.mT).mT


def _ridge(gram: Array) -> Array:
    """Return the ridge `(..., 1)`: rounding, but for rows that are 0 or depend on each other."""
    limits = np.finfo(gram.dtype)
    least = limits.eps / np.sqrt(gram.shape[-1])
    traces = np.einsum("...ii->...", gram)
    trace = traces[..., None]
    ridge: Array = least * trace + limits.tiny
    return ridge


def _on_ridge(factored: Callable[[], Array], matrix: Array, ridge: Array) -> Array:
    """Return the factor of a matrix with `ridge` on its diagonal, or more where rounding needs it.

    `factored` factors the matrix, to whose diagonal the ridge is added in place.

    Raises:
        LinAlgError: the matrix is not finite, or not positive at all.
    """
    diagonal = np.arange(matrix.shape[-1])
    for _ in range(_ATTEMPTS):
        matrix[..., diagonal, diagonal] += ridge
        try:
            return factored()
        except linalg.LinAlgError:
            # rounding has made the matrix indefinite: a larger ridge outweighs it
            ridge = _RIDGE_GROWTH * ridge
    return factored()

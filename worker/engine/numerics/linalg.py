"""Linear algebra of stacked matrices: numpy's; scipy's where they are large, or torch's where a job has a device.

numpy computes in float64 and all there is. Of large matrices scipy finds the leading eigenvectors alone, and factors
float32 as such: a half to a third of the time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from worker.engine.numerics import device
from worker.engine.numerics.convolution import Array

_LEAST = 256
"""The smallest side of a matrix that is worth importing a library for, and its way to a device and back."""

LinAlgError = np.linalg.LinAlgError


def leading(matrices: Array, count: int) -> tuple[Array, Array]:
    """Return the `count` greatest eigenvalues of symmetric matrices, the greatest first, and their eigenvectors.

    Of matrices `(..., m, m)` the vectors are the columns of `(..., m, count)`.

    >>> values, vectors = leading(np.diag([1.0, 3.0, 2.0]), 2)
    >>> values.tolist(), abs(vectors).tolist()
    ([3.0, 2.0], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """
    values, vectors = _computed("eigh", np.linalg.eigh, partial(_leading, count=count), matrices)
    return values[..., ::-1][..., :count], vectors[..., ::-1][..., :count]


def eigvalsh(matrices: Array) -> Array:
    """Return the eigenvalues of symmetric matrices, ascending.

    >>> eigvalsh(np.diag([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return _computed("eigvalsh", np.linalg.eigvalsh, _values, matrices)  # type: ignore[no-any-return]  # one array


def cholesky(matrices: Array) -> Array:
    """Return the lower Cholesky factors.

    Raises:
        LinAlgError: a matrix is not positive definite.

    >>> cholesky(np.diag([4.0, 9.0])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return _computed("cholesky", np.linalg.cholesky, _cholesky, matrices)  # type: ignore[no-any-return]  # one array


def whitened(matrix: Array, right: Array) -> Array:
    """Return `right L^-T`, `(n, m)`, for the lower Cholesky factor L of one large matrix; both are used up.

    Raises:
        LinAlgError: the matrix is not positive definite. It is then what it was.

    >>> whitened(np.diag([4.0, 9.0]), np.array([[2.0, 6.0]])).tolist()
    [[1.0, 2.0]]
    """
    if device.chosen() != device.PROCESSOR:
        return solve(cholesky(matrix), right.T).T
    from scipy import linalg

    diagonal = matrix.diagonal().copy()
    try:
        factor = linalg.cho_factor(
            matrix.T, overwrite_a=True
        )  # in the lower half of what is stored row by row
    except LinAlgError:
        for row in range(len(matrix)):
            matrix[row, :row] = matrix[:row, row]
        np.einsum("ii->i", matrix)[...] = diagonal
        raise
    found: Array = linalg.solve_triangular(factor[0], right.T, trans="T", overwrite_b=True).T
    return found


def solve(matrices: Array, right: Array) -> Array:
    """Return `matrices^-1 right`.

    Raises:
        LinAlgError: a matrix is singular.

    >>> solve(np.diag([2.0, 4.0]), np.ones((2, 1))).tolist()
    [[0.5], [0.25]]
    """
    solve = np.linalg.solve
    return _computed("solve", solve, solve, matrices, right)  # type: ignore[no-any-return]  # one array


def _leading(matrices: Array, count: int) -> tuple[Array, Array]:
    from scipy import linalg

    last = matrices.shape[-1] - 1
    subset = last + 1 - count, last
    pairs = [linalg.eigh(each, driver="evr", subset_by_index=subset) for each in _each(matrices)]
    values, vectors = (_stacked(part) for part in zip(*pairs, strict=True))
    return values.reshape(*matrices.shape[:-2], -1), vectors.reshape(*matrices.shape[:-1], -1)


def _values(matrices: Array) -> Array:
    from scipy import linalg

    return _stacked([linalg.eigvalsh(each, driver="evr") for each in _each(matrices)]).reshape(
        matrices.shape[:-1]
    )


def _cholesky(matrices: Array) -> Array:
    from scipy import linalg

    return _stacked([linalg.cholesky(each, lower=True) for each in _each(matrices)]).reshape(
        matrices.shape
    )


def _each(matrices: Array) -> Array:
    return matrices.reshape(-1, *matrices.shape[-2:])


def _stacked(arrays: Sequence[Array]) -> Array:
    """Stack arrays; a single one, which may be as large as memory allows, is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _computed(
    name: str, small: Callable[..., Any], large: Callable[..., Any], *arrays: Array
) -> Any:  # noqa: ANN401 - one array, or two
    if arrays[0].shape[-1] < _LEAST:
        return small(*arrays)
    if device.chosen() == device.PROCESSOR:
        return large(*arrays)
    import torch

    tensors = [device.placed(torch.from_numpy(np.ascontiguousarray(array))) for array in arrays]
    try:
        found = getattr(torch.linalg, name)(*tensors)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch's stubs leave it out
        raise LinAlgError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    return (
        found.numpy(force=True)
        if isinstance(found, torch.Tensor)
        else tuple(part.numpy(force=True) for part in found)
    )

"""Linear algebra of stacked matrices, by numpy, or by scipy or torch where they are large.

numpy computes in float64, and all eigenvectors. scipy computes the leading eigenvectors alone, and
factors float32 in float32: a half to a third of the time. torch computes on the job's device.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from worker.engine.numerics import device
from worker.engine.numerics.convolution import Array

_LEAST = 512
"""The smallest side of a matrix for which importing a library, or the way to a device, pays."""

LinAlgError = np.linalg.LinAlgError


def leading(matrices: Array, count: int) -> tuple[Array, Array]:
    """Return the `count` largest eigenvalues of symmetric matrices, and their eigenvectors.

    The largest is the first. For matrices `(..., m, m)` the vectors are the columns of
    `(..., m, count)`.

    >>> values, vectors = leading(np.diag([1.0, 3.0, 2.0]), 2)
    >>> values.tolist(), abs(vectors).tolist()
    ([3.0, 2.0], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    """
    large = partial(_leading, count=count)
    values, vectors = _computed("eigh", np.linalg.eigh, large, matrices)
    descending = values[..., ::-1]
    leading_first = vectors[..., ::-1]
    largest = descending[..., :count]
    first_vectors = leading_first[..., :count]
    return largest, first_vectors


def eigvalsh(matrices: Array) -> Array:
    """Return the eigenvalues of symmetric matrices, ascending.

    >>> eigvalsh(np.diag([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    values: Array = _computed("eigvalsh", np.linalg.eigvalsh, _eigvalsh, matrices)
    return values


def cholesky(matrices: Array) -> Array:
    """Return the lower Cholesky factors.

    Raises:
        LinAlgError: a matrix is not positive definite.

    >>> cholesky(np.diag([4.0, 9.0])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    factors: Array = _computed("cholesky", np.linalg.cholesky, _cholesky, matrices)
    return factors


def whitened(matrix: Array, right: Array) -> Array:
    """Return `right L^-T`, `(n, m)`, for the lower Cholesky factor L of one large matrix.

    Both arguments are overwritten.

    Raises:
        LinAlgError: the matrix is not positive definite. It is then as it was.

    >>> whitened(np.diag([4.0, 9.0]), np.array([[2.0, 6.0]])).tolist()
    [[1.0, 2.0]]
    """
    if device.chosen() != device.PROCESSOR:
        return solve(cholesky(matrix), right.T).T
    from scipy import linalg

    diagonal = matrix.diagonal().copy()
    try:
        # the factor is in the lower half of the rows as they are stored
        factor, _ = linalg.cho_factor(matrix.T, overwrite_a=True)
    except LinAlgError:
        for row in range(len(matrix)):
            matrix[row, :row] = matrix[:row, row]
        np.einsum("ii->i", matrix)[...] = diagonal
        raise
    solution: Array = linalg.solve_triangular(
        factor, right.T, trans="T", overwrite_b=True
    ).T
    return solution


def solve(matrices: Array, right: Array) -> Array:
    """Return `matrices^-1 right`.

    Raises:
        LinAlgError: a matrix is singular.

    >>> solve(np.diag([2.0, 4.0]), np.ones((2, 1))).tolist()
    [[0.5], [0.25]]
    """
    solution: Array = _computed(
        "solve", np.linalg.solve, np.linalg.solve, matrices, right
    )
    return solution


def _leading(matrices: Array, count: int) -> tuple[Array, Array]:
    from scipy import linalg

    size = matrices.shape[-1]
    subset = size - count, size - 1
    pairs = [
        linalg.eigh(each, driver="evr", subset_by_index=subset)
        for each in _each(matrices)
    ]
    values, vectors = (_stacked(part) for part in zip(*pairs, strict=True))
    leading_axes = matrices.shape[:-2]
    rows_of_all = matrices.shape[:-1]
    own_values = values.reshape(*leading_axes, -1)
    own_vectors = vectors.reshape(*rows_of_all, -1)
    return own_values, own_vectors


def _eigvalsh(matrices: Array) -> Array:
    from scipy import linalg

    values = [linalg.eigvalsh(each, driver="evr") for each in _each(matrices)]
    return _stacked(values).reshape(matrices.shape[:-1])


def _cholesky(matrices: Array) -> Array:
    from scipy import linalg

    factors = [linalg.cholesky(each, lower=True) for each in _each(matrices)]
    return _stacked(factors).reshape(matrices.shape)


def _each(matrices: Array) -> Array:
    return matrices.reshape(-1, *matrices.shape[-2:])


def _stacked(arrays: Sequence[Array]) -> Array:
    """Stack arrays; a single one, which may be as large as memory allows, is not copied."""
    if len(arrays) == 1:
        return arrays[0][None]
    return np.stack(arrays)


def _computed(
    name: str, small: Callable[..., Any], large: Callable[..., Any], *arrays: Array
) -> Any:  # noqa: ANN401 - one array, or two
    """Compute by `small` or `large`, or by torch's function of this name on the job's device."""
    if arrays[0].shape[-1] < _LEAST:
        return small(*arrays)
    if device.chosen() == device.PROCESSOR:
        return large(*arrays)
    return _on_device(name, arrays)


def _on_device(name: str, arrays: Sequence[Array]) -> Any:  # noqa: ANN401 - as above
    import torch

    tensors = [
        device.placed(torch.from_numpy(np.ascontiguousarray(array))) for array in arrays
    ]
    try:
        result = getattr(torch.linalg, name)(*tensors)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch's stubs leave it out
        raise LinAlgError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    if isinstance(result, torch.Tensor):
        return result.numpy(force=True)
    return tuple(part.numpy(force=True) for part in result)

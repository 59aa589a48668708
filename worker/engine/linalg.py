"""Linear algebra of stacked matrices: numpy's, or torch's where they are large and a job has a device.

numpy computes in float64 whatever it is given; torch factors large matrices of float32 in that, in half the time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from worker.engine import device
from worker.engine.convolution import Array

_LEAST = 256
"""The smallest side of a matrix that is worth its way to a device and back."""

LinAlgError = np.linalg.LinAlgError


def eigh(matrices: Array) -> tuple[Array, Array]:
    """Return eigenvalues, ascending, and eigenvectors of symmetric matrices `(..., m, m)`.

    >>> values, vectors = eigh(np.diag([2.0, 1.0]))
    >>> values.tolist(), vectors.shape
    ([1.0, 2.0], (2, 2))
    """
    values, vectors = _computed("eigh", np.linalg.eigh, matrices)
    return values, vectors


def eigvalsh(matrices: Array) -> Array:
    """Return the eigenvalues of symmetric matrices, ascending.

    >>> eigvalsh(np.diag([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return _computed("eigvalsh", np.linalg.eigvalsh, matrices)  # type: ignore[no-any-return]  # one array


def cholesky(matrices: Array) -> Array:
    """Return the lower Cholesky factors.

    Raises:
        LinAlgError: a matrix is not positive definite.

    >>> cholesky(np.diag([4.0, 9.0])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return _computed("cholesky", np.linalg.cholesky, matrices)  # type: ignore[no-any-return]  # one array


def solve(matrices: Array, right: Array) -> Array:
    """Return `matrices^-1 right`.

    Raises:
        LinAlgError: a matrix is singular.

    >>> solve(np.diag([2.0, 4.0]), np.ones((2, 1))).tolist()
    [[0.5], [0.25]]
    """
    return _computed("solve", np.linalg.solve, matrices, right)  # type: ignore[no-any-return]  # one array


def _computed(name: str, on_processor: Callable[..., Any], *arrays: Array) -> Any:  # noqa: ANN401 - one array, or two
    is_single = name == "cholesky" and arrays[0].dtype == np.float32
    if arrays[0].shape[-1] < _LEAST or (device.chosen() == device.PROCESSOR and not is_single):
        return on_processor(*arrays)
    import torch

    tensors = [device.placed(torch.from_numpy(np.ascontiguousarray(array))) for array in arrays]
    try:
        found = getattr(torch.linalg, name)(*tensors)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # torch's stubs leave it out
        raise LinAlgError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    return (
        found.numpy(force=True) if isinstance(found, torch.Tensor) else tuple(part.numpy(force=True) for part in found)
    )

"""Linear algebra of matrices of every size and precision, against numpy's in float64."""

import numpy as np
import pytest

from worker.engine import linalg

SIZES = (20, 300)
"""Below and above what another library is worth importing for."""


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture(params=SIZES)
def positive(request, dtype):
    root = np.random.default_rng(0).standard_normal((2, 3, request.param, 2 * request.param)).astype(dtype)
    return root @ root.swapaxes(-1, -2)


def near(wanted, dtype):
    return pytest.approx(wanted, abs=float(100 * np.finfo(dtype).eps * np.abs(wanted).max()))


def test_leading_eigenvectors(positive, dtype):
    values, vectors = linalg.leading(positive, 7)
    assert values.dtype == vectors.dtype == dtype
    assert values == near(np.linalg.eigvalsh(positive.astype(np.float64))[..., ::-1][..., :7], dtype)
    assert positive @ vectors == near(vectors * values[..., None, :], dtype)
    assert vectors.swapaxes(-1, -2) @ vectors == near(np.broadcast_to(np.eye(7), (2, 3, 7, 7)), dtype)


def test_eigenvalues_and_cholesky_factors(positive, dtype):
    assert linalg.eigvalsh(positive) == near(np.linalg.eigvalsh(positive.astype(np.float64)), dtype)
    factor = linalg.cholesky(positive)
    assert factor @ factor.swapaxes(-1, -2) == near(positive.astype(np.float64), dtype)
    assert not np.triu(factor, 1).any()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_not_positive_has_no_cholesky_factor(size, dtype):
    with pytest.raises(np.linalg.LinAlgError):
        linalg.cholesky(-np.eye(size, dtype=dtype)[None])

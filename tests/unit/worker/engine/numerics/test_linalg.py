"""Linear algebra of matrices of every size and precision, against numpy's in float64."""

import numpy as np
import pytest

from worker.engine.numerics import linalg

SIZES = (20, 300)
"""Below and above what another library is worth importing for."""


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.fixture(params=SIZES)
def positive(request, dtype):
    root = (
        np.random.default_rng(0)
        .standard_normal((2, 3, request.param, 2 * request.param))
        .astype(dtype)
    )
    return root @ root.swapaxes(-1, -2)


def is_near(actual, expected, dtype):
    """Whether arrays agree; pytest.approx takes seconds for half a million numbers."""
    bound = 100 * np.finfo(dtype).eps * np.abs(expected).max()
    return actual.shape == expected.shape and np.abs(actual - expected).max() <= bound


def test_leading_eigenvectors(positive, dtype):
    values, vectors = linalg.leading(positive, 7)
    assert values.dtype == vectors.dtype == dtype
    assert is_near(
        values,
        np.linalg.eigvalsh(positive.astype(np.float64))[..., ::-1][..., :7],
        dtype,
    )
    assert is_near(positive @ vectors, vectors * values[..., None, :], dtype)
    assert is_near(
        vectors.swapaxes(-1, -2) @ vectors,
        np.broadcast_to(np.eye(7), (2, 3, 7, 7)),
        dtype,
    )


def test_eigenvalues_and_cholesky_factors(positive, dtype):
    assert is_near(
        linalg.eigvalsh(positive),
        np.linalg.eigvalsh(positive.astype(np.float64)),
        dtype,
    )
    factor = linalg.cholesky(positive)
    assert is_near(factor @ factor.swapaxes(-1, -2), positive.astype(np.float64), dtype)
    assert not np.triu(factor, 1).any()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_not_positive_has_no_cholesky_factor(size, dtype):
    with pytest.raises(np.linalg.LinAlgError):
        linalg.cholesky(-np.eye(size, dtype=dtype)[None])


@pytest.mark.parametrize("size", SIZES)
def test_whitening_takes_the_place_of_what_it_is_given(size, dtype):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((size, 2 * size)).astype(dtype)
    matrix = root @ root.T
    right = rng.standard_normal((7, size)).astype(dtype)
    exact = np.linalg.cholesky(matrix.astype(np.float64))
    expected = np.linalg.solve(exact, right.T.astype(np.float64)).T
    actual = linalg.whitened(matrix, right)
    assert actual.dtype == dtype
    assert is_near(actual, expected, dtype)
    assert np.shares_memory(actual, right)
    assert is_near(np.tril(matrix), exact, dtype)  # it was factored where it is


@pytest.mark.parametrize("size", SIZES)
def test_what_cannot_be_whitened_is_left_as_it_was(size, dtype):
    root = np.random.default_rng(0).standard_normal((size, 2 * size)).astype(dtype)
    matrix = root @ root.T
    matrix[
        size // 2, size // 2
    ] = -1  # so that half of it is factored before that is found
    before = matrix.copy()
    with pytest.raises(linalg.LinAlgError):
        linalg.whitened(matrix, np.ones((3, size), dtype))
    np.testing.assert_array_equal(matrix, before)

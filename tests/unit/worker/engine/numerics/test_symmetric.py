"""Symmetric matrices come back whole from bands that take little more than half the memory."""

import numpy as np
import pytest

from worker.engine.numerics.symmetric import Symmetric, bands_of

SIZES = [1, 3, 1023, 1024, 1025, 1536, 1537]


def symmetric(size, groups=2):
    root = (
        np.random.default_rng(size)
        .standard_normal((groups, size, size))
        .astype(np.float32)
    )
    return root + root.swapaxes(1, 2)


@pytest.mark.parametrize("size", SIZES)
def test_the_bands_give_back_the_matrices_and_their_products(size):
    matrices = symmetric(size)
    columns = np.random.default_rng(0).standard_normal((size, 5)).astype(np.float32)
    held = Symmetric.of(matrices)
    np.testing.assert_array_equal(held.whole(), matrices)
    assert held.times(columns).dtype == np.float32
    np.testing.assert_allclose(
        held.times(columns), matrices @ columns, rtol=1e-4, atol=1e-4 * size**0.5
    )


@pytest.mark.parametrize("size", SIZES)
def test_each_row_lies_in_one_band(size):
    assert [row for start, end in bands_of(size) for row in range(start, end)] == list(
        range(size)
    )


def test_wide_matrices_take_little_more_than_half_and_hold_nothing_of_what_they_were_made_of():
    matrices = symmetric(4608, groups=1)
    held = Symmetric.of(matrices)
    assert sum(band.nbytes for band in held.bands) < 0.56 * matrices.nbytes
    assert not any(np.shares_memory(band, matrices) for band in held.bands)
    assert not np.shares_memory(Symmetric.of(matrices[:, :9, :9]).whole(), matrices)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1200, 3)])
def test_one_number_that_is_not_finite_is_found(value, place):
    matrices = symmetric(1300)
    assert Symmetric.of(matrices).is_finite()
    matrices[1][place] = matrices[1][place[::-1]] = value
    assert not Symmetric.of(matrices).is_finite()

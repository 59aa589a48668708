"""Moments of inputs, known and unknown."""

import numpy as np
import pytest

from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.moments import Moments, unknown


@pytest.mark.parametrize("size", [3, 1030])
def test_a_covariance_is_whole_again_in_an_array_of_its_own(size):
    rows = np.random.default_rng(0).standard_normal((1, size, 2), np.float32)
    covariance = rows @ rows.swapaxes(1, 2)
    moments = Moments.of(np.zeros((1, size)), covariance.copy())
    np.testing.assert_array_equal(moments.covariance, covariance)
    moments.covariance[:] = 0
    np.testing.assert_array_equal(moments.covariance, covariance)


@pytest.mark.parametrize(
    ("shape", "groups", "transposed", "expected"),
    [
        ((8, 4, 3, 3), 1, False, (1, 36)),
        ((8, 2, 3, 3), 4, False, (4, 18)),
        # each position of a transposed layer's input is a patch
        ((8, 2, 3, 3), 4, True, (4, 2)),
    ],
)
def test_nothing_is_known_of_a_mean_of_zero_and_the_identity(
    shape, groups, transposed, expected
):
    geometry = Convolution(
        shape, (1, 1), ((1, 1), (1, 1)), (1, 1), groups, transposed=transposed
    )
    moments = unknown(geometry)
    assert moments.covariance is None
    assert moments.mean.shape == expected
    assert not moments.mean.any()

"""The equations that forms under moments start from, where they are large."""

import numpy as np
import pytest

from worker.engine.decompose import block_low_rank
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments

GROUPS, N, ROWS = 2, 5, 40


@pytest.fixture
def equations():
    """Normal equations `(groups, R, R)` and `(groups, n, R)`."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((GROUPS, ROWS, 2 * ROWS))
    return root @ root.swapaxes(1, 2), rng.standard_normal((GROUPS, N, ROWS))


def test_large_equations_are_solved_in_their_place_with_the_same_result(equations, monkeypatch):
    gram, cross = equations
    expected = block_low_rank.whitened(gram.copy(), cross.copy())
    monkeypatch.setattr(block_low_rank, "_MOST_COPIED", ROWS - 1)
    np.testing.assert_allclose(
        block_low_rank.whitened(gram, cross), expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("which", range(GROUPS))
def test_large_equations_that_rounding_has_ruined_are_solved_on_a_larger_ridge(
    equations, monkeypatch, which
):
    gram, cross = equations
    values, vectors = np.linalg.eigh(gram[which])
    values[0] = -1e-14 * values.sum()
    gram[which] = vectors * values @ vectors.T
    gram = (gram + gram.swapaxes(1, 2)) / 2
    cross[which] = (
        cross[which] @ vectors[:, 1:] @ vectors[:, 1:].T
    )  # nothing is asked of the ruined direction
    expected = block_low_rank.whitened(gram.copy(), cross.copy())
    monkeypatch.setattr(block_low_rank, "_MOST_COPIED", ROWS - 1)
    found = block_low_rank.whitened(gram, cross)
    np.testing.assert_allclose((found**2).sum((1, 2)), (expected**2).sum((1, 2)), rtol=1e-6)


def test_large_equations_without_any_solution_are_refused(equations, monkeypatch):
    gram, cross = equations
    monkeypatch.setattr(block_low_rank, "_MOST_COPIED", ROWS - 1)
    with pytest.raises(np.linalg.LinAlgError):
        block_low_rank.whitened(-gram, cross)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_the_covariance_of_blocks_is_that_of_their_numbers(axes):
    geometry = Convolution((4, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), groups=2)
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 18, 40))
    moments = Moments.of(np.zeros((2, 18)), root @ root.swapaxes(1, 2))
    target = Target.of(Layer(geometry, rng.standard_normal((4, 3, 2, 3)), None), moments)
    dealt = block_low_rank.offset_blocks(target, axes)
    numbers = np.arange(18).reshape(3, 2, 3)
    order = np.moveaxis(numbers, [axis + 1 for axis in axes], range(len(axes))).reshape(
        dealt.count, dealt.size
    )
    for block in range(dealt.count):
        for start in range(dealt.count):
            expected = target.covariance[:, order[block][:, None], order[start:].reshape(-1)]
            np.testing.assert_array_equal(dealt.covariance(block, start, dealt.count), expected)


def test_blocks_of_channels_lie_as_patches_do():
    geometry = Convolution((4, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
    root = np.random.default_rng(0).standard_normal((1, 18, 40))
    moments = Moments.of(np.zeros((1, 18)), root @ root.swapaxes(1, 2))
    target = Target.of(Layer(geometry, np.ones((4, 3, 2, 3)), None), moments)
    dealt = block_low_rank.channel_blocks(target, 3)
    np.testing.assert_array_equal(dealt.covariance(1, 2, 3), target.covariance[:, 6:12, 12:])

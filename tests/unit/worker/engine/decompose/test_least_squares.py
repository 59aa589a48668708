"""The normal equations of a second layer, where they are large."""

import numpy as np
import pytest

from worker.engine.decompose import least_squares

GROUPS = 2
N = 5
ROWS = 40


@pytest.fixture
def equations():
    """Normal equations `(groups, R, R)` and `(groups, n, R)`."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((GROUPS, ROWS, 2 * ROWS))
    return root @ root.swapaxes(1, 2), rng.standard_normal((GROUPS, N, ROWS))


def test_large_equations_are_solved_in_their_place_with_the_same_result(
    equations, monkeypatch
):
    gram, cross = equations
    expected = least_squares.whitened(gram.copy(), cross.copy())
    monkeypatch.setattr(least_squares, "_MOST_COPIED", ROWS - 1)
    np.testing.assert_allclose(
        least_squares.whitened(gram, cross), expected, rtol=1e-9, atol=1e-12
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
    # nothing is asked of the ruined direction
    cross[which] = cross[which] @ vectors[:, 1:] @ vectors[:, 1:].T
    expected = least_squares.whitened(gram.copy(), cross.copy())
    monkeypatch.setattr(least_squares, "_MOST_COPIED", ROWS - 1)
    actual = least_squares.whitened(gram, cross)
    np.testing.assert_allclose(
        (actual**2).sum((1, 2)), (expected**2).sum((1, 2)), rtol=1e-6
    )


def test_large_equations_without_any_solution_are_refused(equations, monkeypatch):
    gram, cross = equations
    monkeypatch.setattr(least_squares, "_MOST_COPIED", ROWS - 1)
    with pytest.raises(np.linalg.LinAlgError):
        least_squares.whitened(-gram, cross)

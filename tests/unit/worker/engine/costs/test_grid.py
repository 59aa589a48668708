"""Rates between the points of a grid."""

from worker.engine.costs.grid import Grid


def test_between_its_points_a_grid_is_linear_in_the_logarithms():
    grid = Grid((4, 16), (8,), (1, 16), (((2.0, 4.0),), ((6.0, None),)))
    assert grid.rate(4, 8, 1) == grid.rate(1, 99, 1) == 2.0
    assert grid.rate(8, 8, 1) == 4.0
    assert grid.rate(4, 8, 4) == 3.0
    assert grid.rate(4, 8, 999) == 4.0
    assert (
        grid.rate(16, 8, 16) == 6.0
    )  # where nothing was measured the next fewer positions hold

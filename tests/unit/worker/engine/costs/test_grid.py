"""Rates between the points of a grid."""

import pytest

from worker.engine.costs.grid import Grid


def test_between_its_points_logarithms_are_linear():
    grid = Grid((4, 16), (8,), (1, 16), (((2.0, 4.5),), ((8.0, None),)))
    assert grid.rate(4, 8, 1) == grid.rate(1, 99, 1) == 2.0
    assert grid.rate(8, 8, 1) == pytest.approx(4.0)
    assert grid.rate(4, 8, 4) == pytest.approx(3.0)
    assert grid.rate(4, 8, 999) == 4.5
    assert (
        grid.rate(16, 8, 16) == 8.0
    )  # where nothing was measured the next fewer positions hold


def test_a_time_that_no_size_changes_is_the_same_between_two_points():
    # of these layers each takes 1,000 ns
    grid = Grid((10, 1000), (1,), (1,), (((100.0,),), ((1.0,),)))
    assert grid.rate(100, 1, 1) * 100 == pytest.approx(1000)

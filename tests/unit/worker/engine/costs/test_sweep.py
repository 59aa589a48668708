"""The sweep: rates of all points, of which the least of two rounds counts."""

import itertools
from dataclasses import replace

from worker.engine.costs.grid import Grid
from worker.engine.costs.plans import PLANS
from worker.engine.costs.sweep import Measurement, sweep

SMALL = replace(PLANS["3x3"], inputs=(4, 8), outputs=(8,), sides=(1, 2))


def swept(watch, plan=SMALL, **options):
    return sweep([Measurement("3x3", plan, watch)], lambda *_: None, **options)["3x3"]


def test_of_two_rounds_the_least_is_kept():
    times = itertools.count(1)
    grid = swept(lambda layer, size, batch: 1e6 * next(times))
    assert (grid.inputs, grid.outputs, grid.positions) == ((4, 8), (8,), (1, 4))
    assert grid.ns_per_mac[0][0] == (
        float(f"{1e6 / 288:.4g}"),
        float(f"{2e6 / 1152:.4g}"),
    )


def test_a_rate_is_positive_where_the_clock_shows_no_time():
    assert swept(lambda *_: 0.0, rounds=1).ns_per_mac[0][0][0] > 0


def test_layers_that_are_too_large_are_left_out_except_the_smallest():
    plan = replace(PLANS["3x3"], inputs=(1024,), outputs=(1024,), sides=(28, 224))
    sizes = []
    grid = swept(lambda layer, size, batch: sizes.append(size) or 1e9, plan, rounds=1)
    assert sizes == [(28, 28)]
    assert grid.ns_per_mac[0][0][1] is None
    assert isinstance(grid, Grid)

"""The frontier: choices for other budgets."""

from support.engine.analyses import QUICK, SLOW, analysed, objective_of, timed

from convpress.budgets import FLOPS
from worker.engine.selection.frontier import frontier


def test_the_frontier_goes_from_the_least_to_the_original():
    points = frontier(
        analysed(QUICK, SLOW), objective_of(FLOPS, 600, at_any_price=True)
    )
    assert [(point.macs, point.error) for point in points] == [
        (400, 0.15),
        (500, 0.05),
        (1000, 0),
    ]
    assert points[-1].share == 1


def test_the_frontier_keeps_the_time_where_the_objective_does():
    kept = objective_of(FLOPS, 600, times_decide=False, keeps_time=True)
    points = frontier(timed(QUICK, SLOW), kept)
    assert [point.nanoseconds for point in points] == [50, 100]

"""The frontier: the choices for other budgets, from the least reachable one to the original."""

from collections.abc import Sequence
from dataclasses import dataclass

from convpress.budgets import FLOPS
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.knapsack import Option
from worker.engine.selection.objective import (
    Allocation,
    FixedRank,
    Goal,
    Objective,
    capacities,
    chooser,
    path_count,
)

_STEPS = 40
_STEPS_OF_SEVERAL = 10
"""Fewer steps for several budgets, or lost channels: each then takes several allocations."""


@dataclass(frozen=True)
class FrontierPoint:
    """The choice for another budget.

    `nanoseconds` is its time by the cost table, None without one. `share` is what it keeps of the
    original in the unit of the first budget. `error` is the predicted error of the outputs.
    """

    macs: int
    nanoseconds: int | None
    share: float
    error: float


def frontier(analysis: Analysis, goal: Goal) -> list[FrontierPoint]:
    """Return the choices for other budgets, the cheapest first.

    The first of the budgets varies while the others hold; for a fixed rank MACs alone vary. Without
    budgets there are none.
    """
    objective = _all_macs(analysis, goal) if isinstance(goal, FixedRank) else goal
    if not objective.budgets:
        return []
    first, *others = objective.budgets
    allocation = Allocation.of(analysis, objective)
    paths = path_count(analysis, first)
    held = capacities(analysis, others)
    # the rest of the model costs the same whatever is chosen
    outside_sites = first.allowed - first.left_to(analysis.sites, analysis.originals)
    points: dict[int, FrontierPoint] = {}
    choose_within = chooser(analysis, objective, allocation)
    for amount in _amounts(analysis, objective, allocation):
        choice = choose_within([amount] * paths + held)
        # the least of the first budget need not be within the others
        if choice is None:
            continue
        cost = first.spent(analysis.sites, choice)
        points[cost] = FrontierPoint(
            macs=analysis.macs_of(choice),
            nanoseconds=analysis.nanoseconds_of(choice),
            share=(outside_sites + cost) / max(first.posted, 1),
            error=analysis.predicted_error(choice),
        )
    return [points[cost] for cost in sorted(points)]


def _all_macs(analysis: Analysis, goal: FixedRank) -> Objective:
    """Return the objective that allows all MACs of the original."""
    budget = BoundBudget(
        FLOPS.parse("100%"), analysis.macs, analysis.macs, analysis.macs
    )
    return Objective((budget,), goal.at_any_price)


def _amounts(
    analysis: Analysis, objective: Objective, allocation: Allocation
) -> list[int]:
    """Return amounts for the sites, evenly spaced from the least to the original's cost."""
    first = objective.budgets[0]
    # every path has the budget to itself: the path that costs most at the least sets the start
    least = 0
    for path in range(path_count(analysis, first)):
        cheapest = sum(_least_cost(site, path) for site in allocation.options)
        least = max(least, cheapest)
    most = first.spent(analysis.sites, analysis.originals)
    takes_rounds = len(objective.budgets) > 1 or bool(analysis.paths)
    steps = _STEPS_OF_SEVERAL if takes_rounds else _STEPS
    return [least + (most - least) * step // steps for step in range(steps + 1)]


def _least_cost(site: Sequence[Option], path: int) -> int:
    return min(option.costs[path] for option in site)

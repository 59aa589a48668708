"""The objective of a choice: budgets to meet with the least error, or one rank everywhere.

No site becomes slower than it is unless the user wants FLOPs at any price, as far as a cost table
or a rule shows. With a table, time has a price where no budget bounds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import ORIGINAL, Candidate, SiteCandidates
from worker.engine.selection.knapsack import BudgetUnreachableError, Knapsack, Option
from worker.engine.selection.unreachable import all_together, one_budget


@dataclass(frozen=True)
class FixedRank:
    """One rank everywhere, in one form: the mode of the DAC paper.

    `at_any_price` concerns the frontier alone: sites may be slower there than they are.
    """

    form: str
    rank: int
    at_any_price: bool = False


@dataclass(frozen=True)
class Objective:
    """Budgets that are all to be met, the leading one first.

    With `at_any_price` sites may become slower than they are. With `int8_only` what may be in int8
    is not left in float. Without `times_decide` the times of a cost table are for information: the
    choice is that of a job without a table.
    """

    budgets: tuple[BoundBudget, ...]
    at_any_price: bool = False
    int8_only: bool = False
    times_decide: bool = True

    @property
    def allows_original(self) -> bool:
        """Whether all budgets allow the model as it is."""
        return all(budget.allows_original for budget in self.budgets)

    @property
    def needs_written_file(self) -> bool:
        """Whether a choice fits for certain only once its file was written."""
        return any(budget.unit.needs_written_file for budget in self.budgets)

    @property
    def bounds_time(self) -> bool:
        """Whether one of the budgets is one of time."""
        return any(budget.unit.counts_time for budget in self.budgets)

    def admits(self, candidate: Candidate, original: Candidate) -> bool:
        """Whether a candidate may be chosen: as far as the cost table shows, it is no slower.

        Where a budget bounds time, a candidate without a price is not admitted.
        """
        ignores_times = self.at_any_price or not self.times_decide
        if candidate.is_original or (ignores_times and not self.bounds_time):
            return True
        if candidate.nanoseconds is None or original.nanoseconds is None:
            return not self.bounds_time
        return candidate.nanoseconds <= original.nanoseconds


@dataclass(frozen=True)
class Allocation:
    """The knapsack problem of an objective: each site's admitted candidates as options."""

    candidates: tuple[tuple[Candidate, ...], ...]
    options: tuple[tuple[Option, ...], ...]

    @classmethod
    def of(cls, analysis: Analysis, objective: Objective) -> "Allocation":
        """Return the problem that an objective poses for an analysed model."""
        price = _price_of_time(analysis, objective)
        admitted = tuple(
            _admitted(analysis, each, objective) for each in analysis.candidates
        )
        options = []
        for site, candidates in zip(analysis.candidates, admitted, strict=True):
            options.append(
                tuple(
                    _option(analysis, objective, site, each, price)
                    for each in candidates
                )
            )
        return cls(admitted, tuple(options))

    def picked(self, indices: Sequence[int]) -> list[Candidate]:
        """Return the candidates at these indices, one a site."""
        pairs = zip(self.candidates, indices, strict=True)
        return [candidates[index] for candidates, index in pairs]


Goal = Objective | FixedRank


def choose(analysis: Analysis, goal: Goal) -> list[Candidate]:
    """Choose one candidate a site: within all budgets, or at the fixed rank.

    Raises:
        Refusal: `budget_unreachable`.
    """
    if isinstance(goal, FixedRank):
        # each site has two candidates at most, the original and that rank
        return [each.candidates[-1] for each in analysis.candidates]
    if not goal.budgets:
        return analysis.originals
    allocation = Allocation.of(analysis, goal)
    try:
        # a budget has one capacity for each execution path: all paths have to fit
        indices = Knapsack(allocation.options).allocate(
            capacities(analysis, goal.budgets)
        )
    except BudgetUnreachableError as error:
        if error.which is None:
            raise all_together(goal.budgets) from error
        budget = _budget_of(analysis, goal, error.which)
        excluded = _excludes_slower(analysis, goal)
        raise one_budget(
            analysis, budget, error.least, slower_excluded=excluded
        ) from error
    return allocation.picked(indices)


def capacities(analysis: Analysis, budgets: Sequence[BoundBudget]) -> list[int]:
    """Return the amount that each budget leaves to the sites, once for each execution path."""
    amounts = []
    for budget in budgets:
        left = budget.left_to(analysis.sites, analysis.originals)
        amounts += [left] * path_count(analysis, budget)
    return amounts


def path_count(analysis: Analysis, budget: BoundBudget) -> int:
    """Return the number of execution paths along which a budget counts candidates."""
    counts = [
        len(budget.costs(each.site, each.original)) for each in analysis.candidates
    ]
    return max(counts, default=1)


def _admitted(
    analysis: Analysis, site: SiteCandidates, objective: Objective
) -> tuple[Candidate, ...]:
    """Return the candidates of a site that may be chosen, the original first."""
    admitted = [
        each for each in site.candidates if objective.admits(each, site.original)
    ]
    if objective.int8_only:
        admitted = _without_floats(admitted)
    has_times = analysis.table is not None and objective.times_decide
    if objective.at_any_price or has_times:
        return tuple(admitted)
    return tuple(
        each for each in admitted if not analysis.is_slower_by_rule(site.site, each)
    )


def _without_floats(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates without those in float; all of them where int8 does not serve the site.

    Where the site as it is may not be in int8, because that is slower, the few ranks that are fast
    enough would be all that is left, and lose most of a layer that no budget asks for.
    """
    in_int8 = [each for each in candidates if each.quantised]
    is_served = any(each.form == ORIGINAL for each in in_int8)
    return in_int8 if is_served else list(candidates)


def _price_of_time(analysis: Analysis, objective: Objective) -> float:
    """Return the price of a nanosecond in units of the first budget.

    A share of the time costs as much as the same share of what the first budget counts. Time has no
    price without a table that decides, at any price, and where the first budget is one of time.
    """
    leading = objective.budgets[0]
    has_price = objective.times_decide and not objective.at_any_price
    if leading.unit.counts_time or not has_price or not analysis.nanoseconds:
        return 0.0
    return leading.total / analysis.nanoseconds


def _option(
    analysis: Analysis,
    objective: Objective,
    site: SiteCandidates,
    candidate: Candidate,
    price: float,
) -> Option:
    costs: list[int] = []
    for budget in objective.budgets:
        costs += budget.costs(site.site, candidate)
    # a candidate without a price in the table is taken to be as fast as the original
    nanoseconds = candidate.time or site.original.nanoseconds or 0
    error = analysis.weighted_error(site.site, candidate)
    return Option(tuple(costs), error, penalty=round(price * nanoseconds))


def _budget_of(analysis: Analysis, objective: Objective, capacity: int) -> BoundBudget:
    """Return the budget that a capacity, by its index, belongs to."""
    owners: list[BoundBudget] = []
    for budget in objective.budgets:
        owners += [budget] * path_count(analysis, budget)
    return owners[capacity]


def _excludes_slower(analysis: Analysis, objective: Objective) -> bool:
    """Whether there are candidates that are excluded only because they are slower."""
    if objective.at_any_price:
        return False
    # without budgets the objective excludes slower candidates alone
    without_time = replace(objective, budgets=())
    return any(
        _admitted(analysis, each, without_time) != each.candidates
        for each in analysis.candidates
    )

"""The objective of a choice: budgets to meet with the least error, or one rank everywhere.

No site becomes slower than it is unless the user wants FLOPs at any price, as far as a cost table
or a rule shows. With a table, time has a price where no budget bounds it. A table that nobody named
keeps the sites together from becoming slower, where the budgets allow it, and no single one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from convpress.refusal import Refusal
from worker.engine.model import by_execution_path
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import ORIGINAL, Candidate, SiteCandidates
from worker.engine.selection.channels.coupled_choice import CoupledChoice
from worker.engine.selection.channels.coupling import Coupling
from worker.engine.selection.knapsack import BudgetUnreachableError, Knapsack, Option
from worker.engine.selection.unreachable import all_together, one_budget

_BISECTIONS = 8
"""The amounts that are tried in search of the least reachable one."""


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
    is not left in float. Without `times_decide` the times of a cost table exclude no candidate and
    have no price. With `keeps_time` all sites together take no longer than they do, by the table,
    where the budgets allow that.
    """

    budgets: tuple[BoundBudget, ...]
    at_any_price: bool = False
    int8_only: bool = False
    times_decide: bool = True
    keeps_time: bool = False

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
    """The knapsack problem of an objective: each site's admitted candidates as options.

    `options_with_times` have the times along all execution paths as further costs, each of which
    is at most `time_limit` where the budgets allow that. They are empty where nothing limits time.
    """

    candidates: tuple[tuple[Candidate, ...], ...]
    options: tuple[tuple[Option, ...], ...]
    options_with_times: tuple[tuple[Option, ...], ...] = ()
    time_limit: int = 0

    @classmethod
    def of(
        cls,
        analysis: Analysis,
        objective: Objective,
        sites: Sequence[SiteCandidates] | None = None,
    ) -> "Allocation":
        """Return the problem that an objective poses for an analysed model.

        `sites` are its candidates at other costs.
        """
        sites = analysis.candidates if sites is None else sites
        price = _price_of_time(analysis, objective)
        admitted = tuple(_admitted(analysis, each, objective) for each in sites)
        options = []
        for site, candidates in zip(sites, admitted, strict=True):
            options.append(
                tuple(
                    _option(analysis, objective, site, each, price)
                    for each in candidates
                )
            )
        limit = analysis.nanoseconds if objective.keeps_time else None
        if limit is None:
            return cls(admitted, tuple(options))
        timed = []
        rows = zip(analysis.candidates, admitted, options, strict=True)
        for site, candidates, own_options in rows:
            timed.append(_with_times(site, candidates, own_options))
        return cls(admitted, tuple(options), tuple(timed), limit)

    def allocate(self, budgets: Sequence[int]) -> list[int]:
        """Return the index of one candidate a site, of a choice within these amounts.

        Where the choice exceeds the limit of time, and another one is known that does not, it is
        the other one.

        Raises:
            BudgetUnreachableError: no choice is that cheap.
        """
        indices = self._knapsack.allocate(budgets)
        if not self.options_with_times:
            return indices
        pairs = zip(self.options_with_times, indices, strict=True)
        costs = [options[index].costs[len(budgets) :] for options, index in pairs]
        times = [sum(path) for path in zip(*costs, strict=True)]
        if max(times) <= self.time_limit:
            return indices
        limits = [self.time_limit] * len(times)
        return self._timed_knapsack.allocate_within(budgets, limits) or indices

    @cached_property
    def _knapsack(self) -> Knapsack:
        return Knapsack(self.options)

    @cached_property
    def _timed_knapsack(self) -> Knapsack:
        return Knapsack(self.options_with_times)

    def picked(self, indices: Sequence[int]) -> list[Candidate]:
        """Return the candidates at these indices, one a site."""
        pairs = zip(self.candidates, indices, strict=True)
        return [candidates[index] for candidates, index in pairs]


Goal = Objective | FixedRank
Chooser = Callable[[Sequence[int]], list[Candidate] | None]
"""Returns the best choice within an amount of each budget and path; None where there is none."""


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
    choice = chooser(analysis, goal)(capacities(analysis, goal.budgets))
    if choice is None:
        raise _refusal(analysis, goal)
    return choice


def _refusal(analysis: Analysis, goal: Objective) -> Refusal:
    """Return the refusal of budgets that no choice meets."""
    whole = analysis.without_paths()
    try:
        Allocation.of(whole, goal).allocate(capacities(whole, goal.budgets))
    except BudgetUnreachableError as error:
        if error.which is not None:
            budget = _budget_of(whole, goal, error.which)
            least = _least(analysis, goal, error.which, error.least)
            excluded = _excludes_slower(whole, goal)
            return one_budget(whole, budget, least, slower_excluded=excluded)
    return all_together(goal.budgets)


def _least(analysis: Analysis, goal: Objective, which: int, least: int) -> int:
    """Return the least amount of a budget for which a choice is known.

    `least` is that of choices with all channels.
    """
    if not analysis.paths:
        return least
    # a model with paths of channels has no branches: each budget has one capacity
    budget = goal.budgets[which]
    choose_within = chooser(analysis, goal)
    amounts = capacities(analysis, goal.budgets)
    too_little = 0
    for _ in range(_BISECTIONS):
        amounts[which] = (too_little + least) // 2
        choice = choose_within(amounts)
        if choice is None:
            too_little = amounts[which]
        else:
            least = budget.spent(analysis.sites, choice)
    return least


def chooser(
    analysis: Analysis, objective: Objective, allocation: Allocation | None = None
) -> Chooser:
    """Return the chooser of an analysed model: one budget after another may be tried.

    `allocation` is the problem of the objective, where the caller has it.
    """
    if not analysis.paths:
        return partial(_picked, allocation or Allocation.of(analysis, objective))
    apart = partial(_picked, Allocation.of(analysis.without_paths(), objective))
    coupled = CoupledChoice(
        analysis.candidates,
        Coupling(analysis.candidates, analysis.paths, analysis.table),
        objective.budgets,
        partial(_best, analysis, objective),
        analysis.predicted_error,
    )

    def better(amounts: Sequence[int]) -> list[Candidate] | None:
        """Return the better choice of those with and without lost channels."""
        choices = [each for each in (coupled.within(amounts), apart(amounts)) if each]
        return min(choices, key=analysis.predicted_error, default=None)

    return better


def _best(
    analysis: Analysis,
    objective: Objective,
    sites: Sequence[SiteCandidates],
    amounts: Sequence[int],
) -> list[Candidate] | None:
    """Return the best choice within these amounts, at the costs that `sites` have now."""
    return _picked(Allocation.of(analysis, objective, sites), amounts)


def _picked(allocation: "Allocation", amounts: Sequence[int]) -> list[Candidate] | None:
    try:
        # a budget has one capacity for each execution path: all paths have to fit
        return allocation.picked(allocation.allocate(amounts))
    except BudgetUnreachableError:
        return None


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


def _with_times(
    site: SiteCandidates, candidates: Sequence[Candidate], options: Sequence[Option]
) -> tuple[Option, ...]:
    """Return options with the time of each candidate, once a path, as further costs.

    A candidate without a price is taken to be as fast as its site, and so are all candidates of a
    site without a price.
    """
    original_ns = site.original.nanoseconds
    timed = []
    for candidate, option in zip(candidates, options, strict=True):
        nanoseconds = candidate.nanoseconds or original_ns or 0
        times = by_execution_path(
            [site.site], [0 if original_ns is None else nanoseconds]
        )
        timed.append(replace(option, costs=option.costs + times))
    return tuple(timed)


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

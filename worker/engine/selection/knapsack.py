"""The allocation of budgets: one candidate a site, with the least total error, within all budgets.

This is a multiple-choice knapsack. Each site's candidates are reduced to the lower convex hull of
error over price. The segments of all hulls, merged by slope, are the solutions for every value of
one Lagrange multiplier. The rest of the budget is spent on the best single upgrades. Several
budgets are treated as one, whose price is the weighted sum of the shares of each: the weights are
moved towards the budgets of which most is spent, and the best solution is kept. Limits that give
way to the budgets share one weight, of which several are tried.

Sources: Everett, "Generalized Lagrange multiplier method", Operations Research 11 (1963); Glover,
"Surrogate constraints", Operations Research 16 (1968); Kellerer, Pferschy and Pisinger, "Knapsack
Problems" (2004), section 11.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
"""The rounds in which the weights of several budgets are moved."""
_LIMIT_WEIGHTS = tuple(np.geomspace(0.02, 20, 12).tolist())
"""The weights of limits that are tried, where that of a budget is 1."""
_LARGEST_EXACT = 1 << 62
"""The largest cost that is counted in whole numbers."""
_TINY_SHARE = 1e-6
"""The price of a free upgrade, as a share of the lowest price: free upgrades come first."""

_Numbers = NDArray[Any]


@dataclass(frozen=True)
class Option:
    """The costs of one candidate of a site, one for each budget, and its error.

    `penalty` is added to the price where there is one budget. No budget bounds it.
    """

    costs: tuple[int, ...]
    error: float
    penalty: int = 0


class BudgetUnreachableError(ValueError):
    """Even the cheapest candidates cost more than a budget.

    `which` is the index of that budget, and `least` the cost of the cheapest candidates in it.
    `which` is None where each of the budgets can be met but no choice was found that meets all.
    """

    def __init__(self, which: int | None, least: int, budget: int) -> None:
        super().__init__(
            f"the least that can be reached is {least}, the budget is {budget}"
        )
        self.which = which
        self.least = least


class Knapsack:
    """Sites with their options, prepared for one budget after another."""

    def __init__(self, sites: Sequence[Sequence[Option]]) -> None:
        dtype = _dtype_of(sites)
        self._costs: list[_Numbers] = []
        self._errors: list[_Numbers] = []
        self._penalties: list[_Numbers] = []
        for options in sites:
            costs = [option.costs for option in options]
            errors = [option.error for option in options]
            penalties = [option.penalty for option in options]
            self._costs.append(np.array(costs, dtype))
            self._errors.append(np.array(errors))
            self._penalties.append(np.array(penalties, dtype))
        self._with_limits: list[_Priced] | None = None

    def allocate(self, budgets: Sequence[int]) -> list[int]:
        """Choose one option a site, and return their indices.

        The costs of the choice add up to at most each of the `budgets`.

        Raises:
            BudgetUnreachableError: no choice is that cheap.

        >>> sites = [[Option((9,), 0.0), Option((3,), 0.5)], [Option((8,), 0.0), Option((2,), 0.1)]]
        >>> Knapsack(sites).allocate([12])
        [0, 1]
        """
        self._require_reachable(budgets)
        if len(budgets) > 1:
            return self._allocate_together(budgets)
        choice = self._with_penalties.choose(budgets)
        if choice is None:
            # the cheapest options by price and penalty together may be above the budget
            choice = self._without_penalties.choose(budgets)
        assert choice is not None  # the cheapest are within the only budget
        return choice

    def allocate_within(
        self, budgets: Sequence[int], limits: Sequence[int]
    ) -> list[int] | None:
        """Choose one option a site within budgets and limits; None where no choice was found.

        The costs of an option are those in the budgets, followed by those in the limits. The first
        option of a site is the original.

        >>> site = [Option((9, 5), 0.0), Option((3, 9), 0.5), Option((4, 4), 0.6)]
        >>> Knapsack([site]).allocate_within([5], [5])
        [2]
        """
        capacities = [*budgets, *limits]
        best: list[int] | None = None
        for priced in self._at_weights_of_limits(len(limits)):
            choice = priced.choose(capacities)
            if choice is None:
                continue
            if best is None or self._error(choice) < self._error(best):
                best = choice
        return best

    def _at_weights_of_limits(self, limits: int) -> "list[_Priced]":
        """Return the options at the price of their costs, the last ones at each weight of limits.

        A share of the original's costs has the same price whatever the budgets are, so that the
        prices are prepared once.
        """
        if self._with_limits is None:
            originals: _Numbers = sum(costs[0] for costs in self._costs)
            self._with_limits = []
            for weight in _LIMIT_WEIGHTS:
                weights = np.ones(len(originals))
                weights[-limits:] = weight
                priced = self._at_rates(weights / np.maximum(originals, 1))
                self._with_limits.append(priced)
        return self._with_limits

    def _require_reachable(self, budgets: Sequence[int]) -> None:
        for which, budget in enumerate(budgets):
            least = sum(int(costs[:, which].min()) for costs in self._costs)
            if least > budget:
                raise BudgetUnreachableError(which, least, budget)

    @cached_property
    def _with_penalties(self) -> "_Priced":
        """The options at the price of their cost in the only budget and their penalty."""
        columns = zip(self._penalties, self._errors, self._costs, strict=True)
        return _Priced(
            [
                _Site(costs[:, 0] + penalties, errors, costs)
                for penalties, errors, costs in columns
            ]
        )

    @cached_property
    def _without_penalties(self) -> "_Priced":
        """The options at the price of their cost in the only budget alone."""
        columns = zip(self._errors, self._costs, strict=True)
        return _Priced([_Site(costs[:, 0], errors, costs) for errors, costs in columns])

    def _at_rates(self, rates: _Numbers) -> "_Priced":
        """Return the options at the price of all their costs, each at the rate of its budget."""
        columns = zip(self._errors, self._costs, strict=True)
        return _Priced(
            [_Site(costs @ rates, errors, costs) for errors, costs in columns]
        )

    def _allocate_together(self, budgets: Sequence[int]) -> list[int]:
        """Choose under several budgets, each of which can be met alone.

        Raises:
            BudgetUnreachableError: no choice was found that meets all of them.
        """
        best: list[int] | None = None
        least_error = np.inf
        weights = np.ones(len(budgets))
        allowed = np.maximum(np.array(budgets, float), 1)
        for _ in range(_ROUNDS):
            # a share of one budget costs as much as the same share of another, times their weights
            priced = self._at_rates(weights / allowed)
            choice = priced.choose(budgets)
            if choice is None:
                choice = priced.cheapest
            else:
                error = self._error(choice)
                if best is None or error < least_error:
                    best, least_error = choice, error
            # the budget that is spent most keeps its weight; those of the others shrink
            shares = priced.spent(choice) / allowed
            weights = weights * (shares / (shares.max() or 1.0)) ** 2
        if best is None:
            raise BudgetUnreachableError(None, 0, 0)
        return best

    def _error(self, choice: Sequence[int]) -> float:
        pairs = zip(self._errors, choice, strict=True)
        return sum(float(errors[index]) for errors, index in pairs)


def _dtype_of(sites: Sequence[Sequence[Option]]) -> type[np.int64] | type[np.float64]:
    """Return the dtype of costs: whole numbers, unless one is too large to be added up."""
    largest = 0
    for options in sites:
        for option in options:
            largest = max(largest, *option.costs)
    return np.int64 if largest < _LARGEST_EXACT else np.float64


@dataclass(frozen=True)
class _Site:
    """A site's options by column: `(options,)` prices and errors, `(options, budgets)` costs."""

    prices: _Numbers
    errors: _Numbers
    costs: _Numbers

    @cached_property
    def order(self) -> _Numbers:
        """The options by price, then by error and by costs."""
        return np.lexsort((*self.costs.T[::-1], self.errors, self.prices))


class _Priced:
    """Sites whose options have prices."""

    def __init__(self, sites: Sequence[_Site]) -> None:
        self._sites = sites
        positive = [site.prices[site.prices > 0] for site in sites]
        lowest = [float(prices.min()) for prices in positive if prices.size]
        self._tiny = min(lowest, default=1.0) * _TINY_SHARE

    @property
    def cheapest(self) -> list[int]:
        """The cheapest option of every site."""
        return [int(site.order[0]) for site in self._sites]

    def spent(self, choice: Sequence[int]) -> _Numbers:
        """Return the costs of a choice, `(budgets,)`."""
        pairs = zip(self._sites, choice, strict=True)
        costs: _Numbers = sum(site.costs[index] for site, index in pairs)
        return costs

    def choose(self, budgets: Sequence[int]) -> list[int] | None:
        """Choose by price; None where the cheapest are above a budget."""
        choice = self.cheapest
        left = np.array(budgets) - self.spent(choice)
        if left.min() < 0:
            return None
        if not self._steps:
            return self._filled(choice, left)
        # the first step that exceeds a budget ends the climb along all hulls
        exceeds = np.min(left - self._climbed, axis=1) < 0
        number = [*exceeds.tolist(), True].index(True)
        for at, index in self._steps[:number]:
            choice[at] = index
        if number:
            left = left - self._climbed[number - 1]
        return self._filled(choice, left)

    @cached_property
    def _steps(self) -> list[tuple[int, int]]:
        """(Site, option) of every step up a hull, the most error saved per price first."""
        steps = []
        for at, site in enumerate(self._sites):
            for cheaper, dearer in pairwise(_lower_hull(site)):
                gain = site.errors[cheaper] - site.errors[dearer]
                rise = site.prices[dearer] - site.prices[cheaper]
                steps.append((float(-gain / rise), at, dearer))
        return [(at, index) for _, at, index in sorted(steps)]

    @cached_property
    def _climbed(self) -> _Numbers:
        """The costs that all steps up to each one add to the cheapest, `(steps, budgets)`."""
        now = self.cheapest
        added = []
        for at, index in self._steps:
            costs = self._sites[at].costs
            added.append(costs[index] - costs[now[at]])
            now[at] = index
        return np.cumsum(added, axis=0)

    def _filled(self, choice: list[int], left: _Numbers) -> list[int]:
        """Spend the rest of the budgets on the best single upgrades, until none fits."""
        while True:
            upgrade = self._best_upgrade(choice, left)
            if upgrade is None:
                return choice
            at, index = upgrade
            costs = self._sites[at].costs
            left = left + costs[choice[at]] - costs[index]
            choice[at] = index

    def _best_upgrade(
        self, choice: Sequence[int], left: _Numbers
    ) -> tuple[int, int] | None:
        """Return the (site, option) that fits and saves most error per price; None for none."""
        best: tuple[int, int] | None = None
        steepest = 0.0
        for at, site in enumerate(self._sites):
            now = choice[at]
            gains = site.errors[now] - site.errors
            is_within = (site.costs - site.costs[now] <= left).all(axis=1)
            fits = (gains > 0) & is_within
            if not fits.any():
                continue
            # free upgrades have a tiny price: a slope needs one
            rises = np.maximum(site.prices - site.prices[now], self._tiny)
            slopes = np.where(fits, gains / rises, 0)
            index = int(slopes.argmax())
            if best is None or slopes[index] > steepest:
                best, steepest = (at, index), float(slopes[index])
        return best


def _lower_hull(site: _Site) -> list[int]:
    """Return the options on the lower convex hull of error over price, the cheapest first."""
    prices, errors = site.prices.tolist(), site.errors.tolist()
    hull: list[int] = []
    for index in site.order.tolist():
        if hull and errors[index] >= errors[hull[-1]]:
            continue
        while len(hull) > 1:
            first, middle = hull[-2:]
            rise = (errors[index] - errors[first]) * (prices[middle] - prices[first])
            if (errors[middle] - errors[first]) * (
                prices[index] - prices[first]
            ) < rise:
                break
            hull.pop()  # it lies on or above the line from the option before to this one
        hull.append(index)
    return hull

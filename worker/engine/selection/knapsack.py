"""The budget's allocation: one candidate a site, least error in total, never above any of the budgets.

A multiple-choice knapsack. Each site's candidates are reduced to the lower convex hull of error over cost; the hulls'
segments, merged by slope, are the solutions for every value of one Lagrange multiplier. What such a solution leaves
of the budget is filled with the best single upgrades. Several budgets are one to it, whose cost is the weighted sum of
each one's share: the weights are moved towards the budgets that are spent most, and the best solution is kept.

Source: Everett, "Generalized Lagrange multiplier method", Operations Research 11 (1963); Glover, "Surrogate
constraints", Operations Research 16 (1968); Kellerer, Pferschy and Pisinger, "Knapsack Problems" (2004), section 11.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
"""In which the weights of several budgets are moved."""
_MOST_EXACT = 1 << 62
"""The largest cost that is counted in whole numbers."""

_Numbers = NDArray[Any]


@dataclass(frozen=True)
class Option:
    """What one candidate of a site costs, in what each of the budgets counts, and how far it is from the original.

    `beside` is a price that is added to the cost where there is one budget, and that this does not bound.
    """

    costs: tuple[int, ...]
    error: float
    beside: int = 0


class BudgetUnreachableError(ValueError):
    """Even the cheapest candidates cost more than a budget.

    `which` is that budget's place among the budgets, and `least` what they cost in it; where each of the budgets can be
    met but no choice was found that meets all, `which` is None.
    """

    def __init__(self, which: int | None, least: int, budget: int) -> None:
        super().__init__(f"the least that can be reached is {least}, the budget is {budget}")
        self.which = which
        self.least = least


class Knapsack:
    """Sites with their options, prepared for one budget after another."""

    def __init__(self, sites: Sequence[Sequence[Option]]) -> None:
        most = max(
            (cost for options in sites for option in options for cost in option.costs), default=0
        )
        kind = np.int64 if most < _MOST_EXACT else np.float64
        self._costs = [np.array([option.costs for option in options], kind) for options in sites]
        self._errors = [np.array([option.error for option in options]) for options in sites]
        self._beside = [np.array([option.beside for option in options], kind) for options in sites]

    def allocate(self, budgets: Sequence[int]) -> list[int]:
        """Choose one option a site: the indices of the choices, whose costs add up to at most each of the `budgets`.

        Raises:
            BudgetUnreachableError: no choice is that cheap.

        >>> sites = [[Option((9,), 0.0), Option((3,), 0.5)], [Option((8,), 0.0), Option((2,), 0.1)]]
        >>> Knapsack(sites).allocate([12])
        [0, 1]
        """
        for which, budget in enumerate(budgets):
            least = sum(int(costs[:, which].min()) for costs in self._costs)
            if least > budget:
                raise BudgetUnreachableError(which, least, budget)
        if len(budgets) > 1:
            return self._allocate_together(budgets)
        chosen = self._by_price.choose(budgets)
        if chosen is None:  # what is cheapest with its price beside is above the budget
            chosen = self._by_cost.choose(budgets)
        assert chosen is not None  # the cheapest are within the only budget
        return chosen

    @cached_property
    def _by_price(self) -> "_Priced":
        """The options at the price of what they cost in the only budget, whatever that is, and beside it."""
        columns = zip(self._beside, self._errors, self._costs, strict=True)
        return _Priced(
            [_Site(costs[:, 0] + beside, errors, costs) for beside, errors, costs in columns]
        )

    @cached_property
    def _by_cost(self) -> "_Priced":
        """The options at the price of what they cost in the only budget alone."""
        columns = zip(self._errors, self._costs, strict=True)
        return _Priced([_Site(costs[:, 0], errors, costs) for errors, costs in columns])

    def _allocate_together(self, budgets: Sequence[int]) -> list[int]:
        """Choose under several budgets, each of which can be met alone.

        Raises:
            BudgetUnreachableError: no choice was found that meets all of them.
        """
        best: tuple[float, list[int]] | None = None
        weights = np.ones(len(budgets))
        allowed = np.maximum(np.array(budgets, float), 1)
        for _ in range(_ROUNDS):
            rates = weights / allowed
            columns = zip(self._errors, self._costs, strict=True)
            priced = _Priced([_Site(costs @ rates, errors, costs) for errors, costs in columns])
            chosen = priced.choose(budgets)
            if chosen is None:
                chosen = priced.cheapest
            else:
                error = sum(
                    float(errors[index]) for errors, index in zip(self._errors, chosen, strict=True)
                )
                if best is None or error < best[0]:
                    best = error, chosen
            shares = priced.spent(chosen) / allowed
            weights = weights * (shares / (shares.max() or 1.0)) ** 2
        if best is None:
            raise BudgetUnreachableError(None, 0, 0)
        return best[1]


@dataclass(frozen=True)
class _Site:
    """A site's options by column: one price for all that each costs, its error, and its costs `(options, budgets)`."""

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
        prices = [site.prices[site.prices > 0] for site in sites]
        self._tiny = min((float(found.min()) for found in prices if found.size), default=1.0) * 1e-6

    @property
    def cheapest(self) -> list[int]:
        """The cheapest option of every site."""
        return [int(site.order[0]) for site in self._sites]

    def spent(self, chosen: Sequence[int]) -> _Numbers:
        """Return what a choice costs in what each budget counts."""
        found: _Numbers = sum(
            site.costs[index] for site, index in zip(self._sites, chosen, strict=True)
        )
        return found

    def choose(self, budgets: Sequence[int]) -> list[int] | None:
        """Choose by price; None where the cheapest are above a budget."""
        chosen = self.cheapest
        left = np.array(budgets) - self.spent(chosen)
        if left.min() < 0:
            return None
        if not self._by_slope:
            return self._filled(chosen, left)
        is_too_dear = np.min(left - self._climbed, axis=1) < 0
        number = [*is_too_dear.tolist(), True].index(True)
        for at, index in self._by_slope[:number]:
            chosen[at] = index
        return self._filled(chosen, left - self._climbed[number - 1] if number else left)

    @cached_property
    def _by_slope(self) -> list[tuple[int, int]]:
        """(Site, option) for every step up a hull, the one that saves most error per unit of cost first."""
        steps = []
        for at, site in enumerate(self._sites):
            for cheaper, dearer in pairwise(_lower_hull(site)):
                gain = site.errors[cheaper] - site.errors[dearer]
                steps.append(
                    (float(-gain / (site.prices[dearer] - site.prices[cheaper])), at, dearer)
                )
        return [(at, index) for _, at, index in sorted(steps)]

    @cached_property
    def _climbed(self) -> _Numbers:
        """What all steps up to each one add to the costs of the cheapest, `(steps, budgets)`."""
        now, added = self.cheapest, []
        for at, index in self._by_slope:
            added.append(self._sites[at].costs[index] - self._sites[at].costs[now[at]])
            now[at] = index
        return np.cumsum(added, axis=0)

    def _filled(self, chosen: list[int], left: _Numbers) -> list[int]:
        """Spend what is left of the budgets on the upgrade that saves most error per unit of cost, until none fits."""
        while True:
            best: tuple[float, int, int] | None = None
            for at, site in enumerate(self._sites):
                now = chosen[at]
                gains = site.errors[now] - site.errors
                fits = (gains > 0) & (site.costs - site.costs[now] <= left).all(axis=1)
                if fits.any():
                    dearer = np.maximum(
                        site.prices - site.prices[now], self._tiny
                    )  # free ones come first
                    slopes = np.where(fits, gains / dearer, 0)
                    index = int(slopes.argmax())
                    if best is None or slopes[index] > best[0]:
                        best = (float(slopes[index]), at, index)
            if best is None:
                return chosen
            _, at, index = best
            left = left + self._sites[at].costs[chosen[at]] - self._sites[at].costs[index]
            chosen[at] = index


def _lower_hull(site: _Site) -> list[int]:
    """Return the indices of the options on the lower convex hull of error over price, the cheapest first."""
    prices, errors = site.prices.tolist(), site.errors.tolist()
    hull: list[int] = []
    for index in site.order.tolist():
        if hull and errors[index] >= errors[hull[-1]]:
            continue
        while len(hull) > 1:
            first, middle = hull[-2:]
            rise = (errors[index] - errors[first]) * (prices[middle] - prices[first])
            if (errors[middle] - errors[first]) * (prices[index] - prices[first]) < rise:
                break
            hull.pop()  # it lies on or above the line from the one before it to this one
        hull.append(index)
    return hull

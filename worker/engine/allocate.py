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
from itertools import pairwise
from typing import NamedTuple

_ROUNDS = 6
"""In which the weights of several budgets are moved."""


@dataclass(frozen=True)
class Option:
    """What one candidate of a site costs, in what each of the budgets counts, and how far it is from the original."""

    costs: tuple[int, ...]
    error: float


class BudgetUnreachableError(ValueError):
    """Even the cheapest candidates cost more than a budget.

    `which` is that budget's place among the budgets, and `least` what they cost in it; where each of the budgets can be
    met but no choice was found that meets all, `which` is None.
    """

    def __init__(self, which: int | None, least: int, budget: int) -> None:
        super().__init__(f"the least that can be reached is {least}, the budget is {budget}")
        self.which = which
        self.least = least


def allocate(sites: Sequence[Sequence[Option]], budgets: Sequence[int]) -> list[int]:
    """Choose one option a site: the indices of the choices, whose costs add up to at most each of the `budgets`.

    Raises:
        BudgetUnreachableError: no choice is that cheap.

    >>> allocate([[Option((9,), 0.0), Option((3,), 0.5)], [Option((8,), 0.0), Option((2,), 0.1)]], [12])
    [0, 1]
    """
    for which, budget in enumerate(budgets):
        least = sum(min(option.costs[which] for option in options) for options in sites)
        if least > budget:
            raise BudgetUnreachableError(which, least, budget)
    if len(budgets) == 1:
        priced = [[_Priced(option.costs[0], option.error, option.costs) for option in options] for options in sites]
        chosen = _allocate(priced, budgets)
        assert chosen is not None  # the cheapest are within the only budget
        return chosen
    return _allocate_together(sites, budgets)


class _Priced(NamedTuple):
    """An option with one price for all that it costs."""

    price: float
    error: float
    costs: tuple[int, ...]


def _allocate_together(sites: Sequence[Sequence[Option]], budgets: Sequence[int]) -> list[int]:
    """Choose under several budgets, each of which can be met alone.

    Raises:
        BudgetUnreachableError: no choice was found that meets all of them.
    """
    best: tuple[float, list[int]] | None = None
    weights = [1.0] * len(budgets)
    for _ in range(_ROUNDS):
        rates = [weight / max(budget, 1) for weight, budget in zip(weights, budgets, strict=True)]
        priced = [
            [
                _Priced(
                    sum(rate * cost for rate, cost in zip(rates, option.costs, strict=True)), option.error, option.costs
                )
                for option in options
            ]
            for options in sites
        ]
        chosen = _allocate(priced, budgets)
        if chosen is None:
            chosen = [_cheapest(options) for options in priced]
        else:
            error = sum(options[index].error for options, index in zip(sites, chosen, strict=True))
            if best is None or error < best[0]:
                best = error, chosen
        shares = [spent / max(budget, 1) for spent, budget in zip(_spent(priced, chosen), budgets, strict=True)]
        most = max(shares) or 1.0
        weights = [weight * (share / most) ** 2 for weight, share in zip(weights, shares, strict=True)]
    if best is None:
        raise BudgetUnreachableError(None, 0, 0)
    return best[1]


def _allocate(sites: Sequence[Sequence[_Priced]], budgets: Sequence[int]) -> list[int] | None:
    """Choose by price; None where the cheapest are above a budget."""
    chosen = [_cheapest(options) for options in sites]
    left = [budget - spent for budget, spent in zip(budgets, _spent(sites, chosen), strict=True)]
    if min(left) < 0:
        return None
    for site, index in _by_slope(sites):
        after = _after(left, sites[site][chosen[site]], sites[site][index])
        if min(after) < 0:
            break
        chosen[site], left = index, after
    return _fill(sites, chosen, left)


def _cheapest(options: Sequence[_Priced]) -> int:
    return min(range(len(options)), key=options.__getitem__)


def _spent(sites: Sequence[Sequence[_Priced]], chosen: Sequence[int]) -> list[int]:
    """Return what a choice costs in what each budget counts."""
    costs = [options[index].costs for options, index in zip(sites, chosen, strict=True)]
    return [sum(column) for column in zip(*costs, strict=True)]


def _after(left: Sequence[int], current: _Priced, other: _Priced) -> list[int]:
    """Return what is left of the budgets with another option in the place of the current one."""
    return [room + now - then for room, now, then in zip(left, current.costs, other.costs, strict=True)]


def _by_slope(sites: Sequence[Sequence[_Priced]]) -> list[tuple[int, int]]:
    """Return (site, option) for every step up a hull, the one that saves most error per unit of cost first."""
    steps = []
    for site, options in enumerate(sites):
        for cheaper, dearer in pairwise(_lower_hull(options)):
            gain = options[cheaper].error - options[dearer].error
            steps.append((-gain / (options[dearer].price - options[cheaper].price), site, dearer))
    return [(site, index) for _, site, index in sorted(steps)]


def _lower_hull(options: Sequence[_Priced]) -> list[int]:
    """Return the indices of the options on the lower convex hull of error over price, the cheapest first."""
    hull: list[int] = []
    for index in sorted(range(len(options)), key=options.__getitem__):
        option = options[index]
        if hull and option.error >= options[hull[-1]].error:
            continue
        while len(hull) > 1 and _above(options[hull[-2]], options[hull[-1]], option):
            hull.pop()
        hull.append(index)
    return hull


def _above(first: _Priced, middle: _Priced, last: _Priced) -> bool:
    """Whether `middle` lies on or above the line from `first` to `last`."""
    rise = (last.error - first.error) * (middle.price - first.price)
    return (middle.error - first.error) * (last.price - first.price) >= rise


def _fill(sites: Sequence[Sequence[_Priced]], chosen: Sequence[int], left: Sequence[int]) -> list[int]:
    """Spend what is left of the budgets on the upgrade that saves most error per unit of cost, until none fits."""
    chosen = list(chosen)
    tiny = min((option.price for options in sites for option in options if option.price > 0), default=1.0) * 1e-6
    while True:
        best: tuple[float, int, int] | None = None
        for site, options in enumerate(sites):
            current = options[chosen[site]]
            for index, option in enumerate(options):
                if option.error >= current.error or min(_after(left, current, option)) < 0:
                    continue
                slope = (current.error - option.error) / max(option.price - current.price, tiny)  # free ones come first
                if best is None or slope > best[0]:
                    best = (slope, site, index)
        if best is None:
            return chosen
        _, site, index = best
        left = _after(left, sites[site][chosen[site]], sites[site][index])
        chosen[site] = index

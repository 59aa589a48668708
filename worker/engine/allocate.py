"""The budget's allocation: one candidate a site, least error in total, never above the budget.

A multiple-choice knapsack. Each site's candidates are reduced to the lower convex hull of error over cost; the hulls'
segments, merged by slope, are the solutions for every value of one Lagrange multiplier. What such a solution leaves
of the budget is filled with the best single upgrades.

Source: Everett, "Generalized Lagrange multiplier method", Operations Research 11 (1963); Kellerer, Pferschy and
Pisinger, "Knapsack Problems" (2004), section 11.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, order=True)
class Option:
    """What one candidate of a site costs, in whatever the budget counts, and how far it is from the original."""

    cost: int
    error: float


class BudgetUnreachableError(ValueError):
    """Even the cheapest candidates cost more than the budget; `least` is what they cost."""

    def __init__(self, least: int, budget: int) -> None:
        super().__init__(f"the least that can be reached is {least}, the budget is {budget}")
        self.least = least


def allocate(sites: Sequence[Sequence[Option]], budget: int) -> list[int]:
    """Choose one option a site: the indices of the choices, whose costs add up to at most `budget`.

    Raises:
        BudgetUnreachableError: no choice is that cheap.

    >>> allocate([[Option(9, 0.0), Option(3, 0.5)], [Option(8, 0.0), Option(2, 0.1)]], 12)
    [0, 1]
    """
    chosen = [min(range(len(options)), key=lambda i, options=options: options[i]) for options in sites]  # type: ignore[misc]
    spent = sum(options[i].cost for options, i in zip(sites, chosen, strict=True))
    if spent > budget:
        raise BudgetUnreachableError(spent, budget)
    for site, index in _by_slope(sites):
        step = sites[site][index].cost - sites[site][chosen[site]].cost
        if spent + step > budget:
            break
        chosen[site] = index
        spent += step
    return _fill(sites, chosen, budget - spent)


def _by_slope(sites: Sequence[Sequence[Option]]) -> list[tuple[int, int]]:
    """Return (site, option) for every step up a hull, the one that saves most error per unit of cost first."""
    steps = []
    for site, options in enumerate(sites):
        hull = lower_hull(options)
        for cheaper, dearer in pairwise(hull):
            gain = options[cheaper].error - options[dearer].error
            steps.append((-gain / (options[dearer].cost - options[cheaper].cost), site, dearer))
    return [(site, index) for _, site, index in sorted(steps)]


def lower_hull(options: Sequence[Option]) -> list[int]:
    """Return the indices of the options on the lower convex hull of error over cost, the cheapest first.

    >>> lower_hull([Option(1, 1.0), Option(2, 0.9), Option(3, 0.2), Option(9, 0.0)])
    [0, 2, 3]
    """
    hull: list[int] = []
    for index in sorted(range(len(options)), key=options.__getitem__):
        option = options[index]
        if hull and option.error >= options[hull[-1]].error:
            continue
        while len(hull) > 1 and _above(options[hull[-2]], options[hull[-1]], option):
            hull.pop()
        hull.append(index)
    return hull


def _above(first: Option, middle: Option, last: Option) -> bool:
    """Whether `middle` lies on or above the line from `first` to `last`."""
    rise = (last.error - first.error) * (middle.cost - first.cost)
    return (middle.error - first.error) * (last.cost - first.cost) >= rise


def _fill(sites: Sequence[Sequence[Option]], chosen: Sequence[int], left: int) -> list[int]:
    """Spend what is left of the budget on the upgrade that saves most error per unit of cost, until none fits."""
    chosen = list(chosen)
    while True:
        best: tuple[float, int, int] | None = None
        for site, options in enumerate(sites):
            current = options[chosen[site]]
            for index, option in enumerate(options):
                step = option.cost - current.cost
                if option.error >= current.error or step > left:
                    continue
                slope = (current.error - option.error) / max(step, 0.5)  # a free upgrade beats all that cost
                if best is None or slope > best[0]:
                    best = (slope, site, index)
        if best is None:
            return chosen
        _, site, index = best
        left -= sites[site][index].cost - sites[site][chosen[site]].cost
        chosen[site] = index

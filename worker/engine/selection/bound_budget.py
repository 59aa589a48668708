"""A budget bound to one model: the amount of its unit that the sites may cost together."""

from collections.abc import Sequence
from dataclasses import dataclass

from convpress.budgets import Budget
from worker.engine.model import OpenedModel, Site
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.units import UNITS, Unit


@dataclass(frozen=True)
class BoundBudget:
    """A budget for one model: `allowed` of the `total` that the original costs.

    A share is one of `posted`, the cost of the file that was sent. It differs from the total where
    that file is quantised and the total is that of its floats.

    `overhead` is what the file holds for a factored site beyond its weights (biases, names, code),
    in the budget's unit; `worker.engine.selection.file_overhead` measures it.
    """

    budget: Budget
    total: int
    allowed: int
    posted: int
    overhead: int = 0

    @classmethod
    def of(
        cls, budget: Budget, opened: OpenedModel, sites: Sequence[SiteCandidates]
    ) -> "BoundBudget":
        """Bind a budget to a model that has these sites.

        Raises:
            Refusal: `cost_table_invalid` where the budget is one of time and no layer has a price.
        """
        unit = UNITS[budget.kind.unit]
        total = unit.total(opened, sites)
        posted = unit.posted(opened, total)
        return cls(budget, total, budget.of(posted), posted)

    @property
    def unit(self) -> Unit:
        """The unit that the budget counts."""
        return UNITS[self.budget.kind.unit]

    @property
    def field(self) -> str:
        """The form field of the budget."""
        return self.budget.kind.field

    @property
    def allows_original(self) -> bool:
        """Whether the original fits as it is."""
        return self.allowed >= self.posted

    def text(self, amount: int) -> str:
        """Return an amount as a share of the original's cost, and as the budget is written."""
        return f"{amount / max(self.posted, 1):.4f}, or {self.unit.text(amount)}"

    def costs(self, site: Site, candidate: Candidate) -> tuple[int, ...]:
        """Return the cost of a candidate, once for each execution path along which it differs."""
        costs = self.unit.costs(site, candidate)
        # the original's own overhead is in the total
        if candidate.is_original:
            return costs
        return tuple(cost + self.overhead for cost in costs)

    def spent(self, sites: Sequence[Site], choice: Sequence[Candidate]) -> int:
        """Return the cost of a choice, along the execution path that costs most."""
        costs = [
            self.costs(site, each) for site, each in zip(sites, choice, strict=True)
        ]
        by_path = [sum(column) for column in zip(*costs, strict=True)]
        return max(by_path, default=0)

    def left_to(self, sites: Sequence[Site], originals: Sequence[Candidate]) -> int:
        """Return the amount that is left to all sites; the rest of the model costs as before."""
        return self.allowed - self.total + self.spent(sites, originals)

"""What budgets count: what a candidate costs in each unit, and what a budget leaves to the sites of one model.

Only the file tells how many numbers and bytes it holds beyond the weights of its layers (biases,
names, code). `Limit.extra` is that overhead for a factored site;
`worker.engine.selection.file_overhead` finds it by writing the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from convpress.budgets import Budget, Unit
from worker.engine.model import Site, by_execution_path
from worker.engine.numerics.flops import FLOPS_PER_MAC
from worker.engine.selection.candidates import ORIGINAL, Candidate


@dataclass(frozen=True)
class Limit:
    """A budget for one model: `allowed` of the `total` that the original costs, in the unit that the budget counts."""

    budget: Budget
    total: int
    allowed: int
    extra: int = 0

    @classmethod
    def of(cls, budget: Budget, total: int) -> "Limit":
        """Return what a budget allows a model that costs `total`."""
        return cls(budget, total, budget.of(total))

    @property
    def unit(self) -> Unit:
        """What is counted."""
        return self.budget.kind.unit

    @property
    def allows_all(self) -> bool:
        """Whether the original fits as it is."""
        return self.allowed >= self.total

    def left_to(self, sites: Sequence[Site], originals: Sequence[Candidate]) -> int:
        """Return what the sites may cost together, given what they are: the rest of the model costs what it did."""
        return self.allowed - self.total + self.spent(sites, originals)

    def spent(self, sites: Sequence[Site], chosen: Sequence[Candidate]) -> int:
        """Return what candidates cost together in their sites' places, along the course that costs most."""
        costs = [self.costs(site, candidate) for site, candidate in zip(sites, chosen, strict=True)]
        return max((sum(column) for column in zip(*costs, strict=True)), default=0)

    def costs(self, site: Site, candidate: Candidate) -> tuple[int, ...]:
        """Return what a candidate costs in a site's place, along each of the model's courses where that differs.

        A layer without a price takes no time.
        """
        match self.unit:
            case "macs":
                return by_execution_path([site], [candidate.macs])
            case "nanoseconds":
                return by_execution_path([site], [candidate.nanoseconds or 0])
            case "parameters" | "bytes":
                size = 1 if self.unit == "parameters" else site.itemsize
                return (
                    size * candidate.numbers + (0 if candidate.form == ORIGINAL else self.extra),
                )


def needs_trial(limits: Sequence[Limit]) -> bool:
    """Whether only the file tells what one of the budgets counts."""
    return any(limit.unit in ("parameters", "bytes") for limit in limits)


def amount_of(unit: Unit, cost: int) -> str:
    """Return an amount as its budget is written.

    >>> amount_of("macs", 500), amount_of("nanoseconds", 1_500_000)
    ('1000 FLOPs', '1.5000 ms')
    """
    match unit:
        case "macs":
            return f"{FLOPS_PER_MAC * cost} FLOPs"
        case "nanoseconds":
            return f"{cost / 1e6:.4f} ms"
        case "parameters":
            return f"{cost} parameters"
        case "bytes":
            return f"{cost} B"

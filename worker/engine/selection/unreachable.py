"""The refusal of budgets that no choice meets, with the least that can be reached."""

from collections import Counter
from collections.abc import Sequence

from convpress.refusal import Code, Refusal
from worker.engine.model import advice_on_quantised
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget

_MOST_REASONS = 3


class UnreachableBudget(Refusal):
    """The refusal of one budget; `least` is the smallest one that can be reached, in its unit."""

    def __init__(
        self, detail: str, *, least: int, field: str, expected: str, got: str
    ) -> None:
        super().__init__(
            Code.BUDGET_UNREACHABLE, detail, field=field, expected=expected, got=got
        )
        self.least = least


def least_reaching(refusals: Sequence[Refusal]) -> Refusal:
    """Return the refusal that names the smallest budget, of ways that all refuse; else the first.

    Ways that miss different budgets cannot be compared.
    """
    best = refusals[0]
    for each in refusals:
        if not isinstance(best, UnreachableBudget):
            break
        if not isinstance(each, UnreachableBudget) or each.field != best.field:
            continue
        if each.least < best.least:
            best = each
    return best


def all_together(budgets: Sequence[BoundBudget]) -> Refusal:
    """Return the refusal of budgets each of which can be met, but no choice was found for all."""
    return Refusal(
        Code.BUDGET_UNREACHABLE,
        "each budget can be met alone, but no choice met all of them",
        field=budgets[-1].field,
        expected="larger budgets, or fewer",
        got=", ".join(f"{budget.field}={budget.budget.text}" for budget in budgets),
    )


def one_budget(
    analysis: Analysis,
    budget: BoundBudget,
    least_of_sites: int,
    *,
    slower_excluded: bool,
) -> Refusal:
    """Return the refusal of a budget that even the cheapest candidates exceed.

    `least_of_sites` is the least that the sites cost together; the rest of the model is added.
    """
    # the user's budget is one of the whole model, and so is the least that the refusal names
    left = budget.left_to(analysis.sites, analysis.originals)
    least = least_of_sites + budget.allowed - left
    condition = ""
    if budget.unit.counts_time:
        condition = ", by the cost table"
    elif slower_excluded:
        condition = (
            " without a layer that becomes slower, which flops_at_any_price would allow"
        )
    share = f"{least / max(budget.posted, 1):.4f} of its {budget.budget.kind.quantity}"
    return UnreachableBudget(
        f"the smallest reachable budget is {share}{condition}{_unfactored(analysis)}",
        least=least,
        field=budget.field,
        expected=f"at least {budget.text(least)}",
        got=budget.text(budget.allowed),
    )


def _unfactored(analysis: Analysis) -> str:
    """Return the number of layers that cannot be factored and the reasons; empty for none."""
    reasons = Counter(
        each.reason
        for each in analysis.candidates
        if len(each.candidates) == 1 and each.reason
    )
    if not reasons:
        return ""
    parts = [
        f"{number} because {reason}"
        for reason, number in reasons.most_common(_MOST_REASONS)
    ]
    layers, left = len(analysis.candidates), sum(reasons.values())
    text = f" (of {layers} layers {left} stay as they are: {'; '.join(parts)})"
    return text + advice_on_quantised(reasons)

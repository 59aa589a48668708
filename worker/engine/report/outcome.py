"""The outcome of a choice: its budgets, its sites, its times, and the choices for other budgets."""

from collections.abc import Sequence

from convpress import report as records
from convpress.formats import Format
from worker.engine.costs.processor import host_name
from worker.engine.costs.table import CostTable
from worker.engine.model import NO_ROWS
from worker.engine.report.account import paths_of
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import ORIGINAL, Candidate, SiteCandidates
from worker.engine.selection.frontier import FrontierPoint
from worker.engine.selection.layout import branch_convolutions, branch_number, layout_of
from worker.engine.selection.objective import FixedRank, Goal, Objective

_MET = "the budget is met without factoring it"
_NS_PER_MS = 1e6
_DECIMALS_OF_MS = 4


def budget(
    goal: Goal, latency: records.Latency | None, *, unchanged: bool
) -> records.BudgetReport:
    """Return the text of each budget and the amount that it allows, or the fixed rank.

    The note says where nothing was compressed, and where the artifact is expected to be slower.
    """
    if isinstance(goal, FixedRank):
        return {"form": goal.form, "rank": goal.rank}
    members: records.BudgetReport = {
        "note": _warning(goal.budgets) if unchanged else _slower(goal, latency)
    }
    for each in goal.budgets:
        members[each.field] = each.budget.text
        members |= each.unit.reported(each.allowed)
    return members


def _warning(budgets: Sequence[BoundBudget]) -> str:
    """Return the warning that budgets allow all of a model, which nobody asks for on purpose."""
    amounts = [
        f"{each.field}={each.budget.text} allows all of its {each.unit.text(each.posted)}"
        for each in budgets
    ]
    return (
        f"nothing was compressed, the model is returned unchanged: {' and '.join(amounts)}; "
        "choose less, such as 50%"
    )


def _slower(goal: Objective, latency: records.Latency | None) -> str | None:
    """Return the warning that an artifact is slower than the model by the cost table, or None."""
    if latency is None or not latency.predicted_before_ms:
        return None
    ratio = (latency.predicted_after_ms or 0) / latency.predicted_before_ms
    if ratio <= 1:
        return None
    text = f"the layers are expected to take {ratio:.2f} times as long as those of the model"
    if not goal.keeps_time:
        return text
    budgets = " and ".join(f"{each.field}={each.budget.text}" for each in goal.budgets)
    return f"{text}: by the cost table, no choice is known that meets {budgets} and is as fast"


def site(
    candidates: SiteCandidates, choice: Candidate, target: Format | CostTable
) -> records.Site:
    """Return the choice for a site; `target` decides the layout, and so the number of branches."""
    original = candidates.site
    convolutions = choice.convolutions
    branches = 1
    if layout_of(original, convolutions, target) == "branches":
        branches = branch_number(convolutions)
        convolutions = branch_convolutions(convolutions)
    # a site may stay although it could be factored
    reason = candidates.reason
    if not reason and choice.form == ORIGINAL:
        reason = _MET if original.macs else NO_ROWS
    return records.Site(
        name=original.name,
        op=original.op,
        weight_shape=list(original.weight_shape),
        form=choice.form,
        variant=choice.variant,
        rank=list(choice.rank) if isinstance(choice.rank, tuple) else choice.rank,
        layers=[list(convolution.weight_shape) for convolution in convolutions],
        branches=branches,
        macs_before=original.macs,
        macs_after=choice.macs,
        courses=paths_of(original),
        ms_before=_milliseconds(candidates.original.nanoseconds),
        ms_after=_milliseconds(choice.time),
        error=choice.error,
        reason=reason or None,
    )


def points(
    frontier: Sequence[FrontierPoint], analysis: Analysis
) -> list[records.Point]:
    """Return the choices for other budgets, the cheapest first."""
    macs, nanoseconds = analysis.macs, analysis.nanoseconds
    rows = []
    for point in frontier:
        latency_keep = None
        if point.nanoseconds is not None and nanoseconds:
            latency_keep = point.nanoseconds / nanoseconds
        rows.append(
            records.Point(
                macs=point.macs,
                keep=point.macs / macs,
                latency_keep=latency_keep,
                budget_keep=point.share,
                predicted_error=point.error,
            )
        )
    return rows


def latency(
    table: CostTable, origin: str, analysis: Analysis, choice: Sequence[Candidate]
) -> records.Latency:
    """Return the time of the sites that have a price in the cost table, before and after."""
    return records.Latency(
        predicted_before_ms=_milliseconds(analysis.nanoseconds),
        predicted_after_ms=_milliseconds(analysis.nanoseconds_of(choice)),
        unpriced_sites=sum(
            original.nanoseconds is None for original in analysis.originals
        ),
        runtime=table.runtime,
        host=table.host,
        table=origin or _measured_on(table),
        table_sha256=table.digest,
    )


def _measured_on(table: CostTable) -> str:
    """Say where a table was measured that somebody has put on this host."""
    return f"measured on {'this host' if table.host == host_name() else table.host}"


def expected_ms(latency: records.Latency, measured_ms: float) -> float | None:
    """Return the expected time of the artifact: the measured time times the share by the table.

    The operators between the sites are taken to shrink with them: the table's times are those of
    layers alone, whose inputs no other layer has displaced from the caches.

    >>> predicted = records.Latency(
    ...     predicted_before_ms=2.0, predicted_after_ms=1.0,
    ...     unpriced_sites=0, runtime="", host="", table_sha256="",
    ... )
    >>> expected_ms(predicted, 3.0)
    1.5
    """
    before, after = latency.predicted_before_ms, latency.predicted_after_ms
    # a table may have no price for any of the layers
    if not before or after is None:
        return None
    return round(measured_ms * after / before, _DECIMALS_OF_MS)


def _milliseconds(nanoseconds: int | None) -> float | None:
    if nanoseconds is None:
        return None
    return round(nanoseconds / _NS_PER_MS, 6)

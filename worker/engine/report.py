"""The report of a compression, as the records of `convpress.report`."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convpress import report as records
from convpress.budgets import FLOPS_PER_MAC
from convpress.formats import FORMATS, Format
from convpress.precision import AUTO, FLOAT, INT8, Precision
from convpress.shapes import format_shape
from worker.engine.comparison_inputs import ComparisonInputs, Source
from worker.engine.costs.processor import host_name
from worker.engine.costs.table import CostTable
from worker.engine.model import CostProfile, Restored, Shapes, Site, TensorSpec
from worker.engine.numerics import device
from worker.engine.risk import UNWEIGHTED
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.candidates import ORIGINAL, Candidate, SiteCandidates
from worker.engine.selection.frontier import FrontierPoint
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.selection.layout import branch_convolutions, branch_number, layout_of
from worker.engine.selection.objective import FixedRank, Goal, Objective
from worker.engine.timing import RunTimes, Spread, Timings, why_busy
from worker.engine.verify import Comparison, worst

if TYPE_CHECKING:
    from worker.engine.calibration.refit.select_refit import RefitChoice

CONVENTION = (
    "FLOPs = 2 x MACs. A convolution counts one MAC per weight and output position (input "
    "position if transposed), padding included; a matrix product one per output element and "
    "summed element. Bias, normalisation and activations are not counted; uncounted "
    "operators are listed with their number. Weights that are used several times count for "
    "every call. Of the execution paths through a model's Ifs, the one with most MACs counts "
    "(ONNX), or the one that is taken (TorchScript). A free batch counts as 1, or as the "
    "least that the file allows. FLOPs count alike in float and in int8; those on quantised "
    "weights are the integer operations. Parameters are weights of any type, without scales and "
    "zero points."
)

_INPUTS: Mapping[Source, str] = {
    "held-out samples": "samples, held out",
    "fitted samples": "samples, to which the layers were fitted too",
    "synthetic": "synthetic, of another kind than was calibrated on",
    "noise": "standard normal",
}

_AFTER_RESTORING: Mapping[Precision | None, str] = {
    None: "An artifact computes in floats, or with precision=int8 in integers again.",
    FLOAT: "The artifact computes in floats; precision=int8 quantises it again.",
    INT8: "The artifact was quantised again.",
    AUTO: "The artifact was quantised again where the budgets want it.",
}
_IN_FLOATS_AFTER_ALL = "The artifact computes in floats: no layer is in int8."

_NS_PER_MS = 1e6
_DECIMALS_OF_MS = 4


def write(path: str, members: Mapping[str, Any]) -> None:
    """Write a report or an inspection as JSON; texts of any length, as of a model, are cut."""
    text = json.dumps(_cut(members), indent=1, allow_nan=False)
    Path(path).write_text(text)


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a value with its texts at most as long as a reader of the report accepts."""
    if isinstance(value, str) and len(value) > records.LONGEST_TEXT:
        return f"{value[: records.LONGEST_TEXT - 1]}…"
    if isinstance(value, Mapping):
        return {_cut(name): _cut(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value


def inputs(specs: Sequence[TensorSpec], shapes: Shapes) -> list[records.Tensor]:
    """Return the inputs with the shapes that all costs were counted at."""
    return [
        records.Tensor(
            name=spec.name, dtype=spec.dtype, shape=format_shape(shapes[spec.name])
        )
        for spec in specs
    ]


def tensors(specs: Sequence[TensorSpec]) -> list[records.Tensor]:
    """Return tensors as the model declares them; the shape is None where it declares none."""
    declared = []
    for spec in specs:
        shape = None if spec.shape is None else format_shape(spec.shape)
        declared.append(records.Tensor(name=spec.name, dtype=spec.dtype, shape=shape))
    return declared


def inspected_sites(profile: CostProfile) -> list[records.InspectedSite]:
    """Return the sites of a model as it is."""
    return [_inspected(site) for site in profile.sites]


def _inspected(site: Site) -> records.InspectedSite:
    return records.InspectedSite(
        name=site.name,
        op=site.op,
        weight_shape=list(site.weight_shape),
        macs=site.macs,
        calls=sum(call.times for call in site.calls),
        courses=_paths(site),
        reason=site.reason,
    )


def _paths(site: Site) -> list[int] | None:
    """Return the indices of the execution paths of a site; None where the model has only one."""
    if not site.execution_paths:
        return None
    return [path for path, macs in enumerate(site.execution_paths) if macs]


def uncounted(profile: CostProfile) -> dict[str, int]:
    """Return the number of each operator that was not counted, by name."""
    return dict(sorted(profile.uncounted.items()))


def unaccounted(profile: CostProfile) -> list[records.Unaccounted]:
    """Return the operators that the account of a model leaves out."""
    return [records.Unaccounted(**vars(operator)) for operator in profile.unaccounted]


def restored(
    model: Restored | None,
    precision: Precision | None = None,
    *,
    has_integers: bool = True,
) -> str | None:
    """Say what was turned back into floats, and what an artifact of this precision computes in.

    None for a model that was posted in floats. Without a precision no artifact was written yet.
    `has_integers` says whether any layer of the artifact is in int8, where its precision allows it.

    >>> restored(Restored(weights=2, pairs=1), INT8).rpartition("and ")[2]
    'DequantizeLinear a clip. The artifact was quantised again.'
    """
    if model is None:
        return None
    weights = "1 weight" if model.weights == 1 else f"{model.weights} weights"
    clips = "1 pair of QuantizeLinear and DequantizeLinear a clip"
    if model.pairs != 1:
        clips = f"{model.pairs} pairs of QuantizeLinear and DequantizeLinear clips"
    after = _AFTER_RESTORING[precision]
    if precision in (INT8, AUTO) and not has_integers:
        after = _IN_FLOATS_AFTER_ALL
    return (
        f"The model is quantised: {weights} became the floats that they stand for, and {clips}. "
        f"{after}"
    )


def cost(
    profile: CostProfile, parameters: int, size: int, times: records.RunTimes
) -> records.Cost:
    """Return the costs of a model whose file has `size` bytes."""
    return records.Cost(
        macs=profile.macs,
        courses=list(profile.execution_paths),
        flops=FLOPS_PER_MAC * profile.macs,
        integer_operations=FLOPS_PER_MAC * profile.integer_macs,
        parameters=parameters,
        bytes=size,
        latency_ms=None if times.clock is None else times.clock.median_ms,
    )


def timing(model_format: Format, timings: Timings) -> records.Timing:
    """Return the measured times of both models, without those by the clock of a busy host."""
    runtime = FORMATS[model_format].runtime
    note = why_busy([timings.original, timings.artifact])
    busy = note is not None
    return records.Timing(
        method="in turn" if timings.in_turn else "one after the other",
        threads=timings.threads,
        runtime=f"{runtime} {version(runtime)}",
        busy=busy,
        note=note,
        before=_run_times(timings.original, busy=busy),
        after=_run_times(timings.artifact, busy=busy),
    )


def _run_times(times: RunTimes, *, busy: bool) -> records.RunTimes:
    return records.RunTimes(
        runs=times.runs,
        processor=_spread(times.processor),
        clock=None if busy else _spread(times.clock),
    )


def _spread(spread: Spread) -> records.Spread:
    return records.Spread(
        median_ms=round(spread.median_ms, _DECIMALS_OF_MS),
        lower_quartile_ms=round(spread.lower_quartile_ms, _DECIMALS_OF_MS),
        upper_quartile_ms=round(spread.upper_quartile_ms, _DECIMALS_OF_MS),
    )


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
        reason = "the budget is met without factoring it"
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
        courses=_paths(original),
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


def calibration(
    analysis: Analysis, refit_choice: "RefitChoice | None"
) -> dict[str, Any]:
    """Return the members of `records.Calibration` that apply."""
    statistics = analysis.calibration
    if isinstance(statistics, Uncalibrated):
        return {"kind": "none", "reason": statistics.reason}
    members = dict(statistics.report_members)
    if not analysis.weights and refit_choice is not None:
        members["notes"] = [*members["notes"], UNWEIGHTED]
    if refit_choice is None:
        return members
    members["refitted"] = refit_choice.refitted
    errors = {"closed_form": refit_choice.error_before}
    if refit_choice.error_after is None:
        members["notes"] = [*members["notes"], f"not refitted: {refit_choice.reason}"]
    else:
        errors["refitted"] = refit_choice.error_after
    members["held_out_error"] = errors
    return members


def verification(
    comparisons: Mapping[str, Comparison], inputs: ComparisonInputs
) -> records.Verification:
    """Return the comparison of the artifact with the original on the same inputs.

    The figures of the whole are the worst ones of all groups. One run on noise shows that shapes
    and types are right, and nothing of classes.
    """
    on_noise = inputs.source == "noise"
    comparison = worst(comparisons)
    return records.Verification(
        inputs=_INPUTS[inputs.source],
        runs=inputs.runs,
        outputs=list(comparison.outputs),
        relative_error=comparison.relative_error,
        agreement=None if on_noise else comparison.agreement,
        finite=comparison.finite,
        sized_by_values=list(comparison.sized_by_values),
        spread_error=None if on_noise else comparison.spread_error,
        groups=[] if on_noise else _groups(comparisons, inputs),
    )


def _groups(
    comparisons: Mapping[str, Comparison], inputs: ComparisonInputs
) -> list[records.ComparedGroup]:
    return [
        records.ComparedGroup(
            name=name,
            runs=len(inputs.groups[name]),
            relative_error=each.relative_error,
            agreement=each.agreement,
            spread_error=each.spread_error,
        )
        for name, each in comparisons.items()
    ]


def engine(
    model_format: Format, seconds: Mapping[str, float], *, reused: bool
) -> records.Engine:
    """Return the versions and the device that did the work, and the seconds of each phase."""
    # other versions of these may give other artifacts
    versions = {"python": platform.python_version()}
    for package in ("convpress", "numpy", *FORMATS[model_format].packages):
        versions[package] = version(package)
    return records.Engine(
        versions=versions,
        device=device.chosen(),
        analysis_reused=reused,
        seconds={phase: round(spent, 3) for phase, spent in seconds.items()},
    )

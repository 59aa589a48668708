"""What was measured, on which inputs and with which versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from convpress import report as records
from convpress.formats import FORMATS, Format
from worker.engine.comparison_inputs import ComparisonInputs, Source
from worker.engine.numerics import device
from worker.engine.risk import UNWEIGHTED
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.input_statistics import Uncalibrated
from worker.engine.timing import RunTimes, Spread, Timings, why_busy
from worker.engine.verify import Comparison, worst

if TYPE_CHECKING:
    from worker.engine.calibration.refit.select_refit import RefitChoice

_INPUTS: Mapping[Source, str] = {
    "held-out samples": "samples, held out",
    "fitted samples": "samples, to which the layers were fitted too",
    "synthetic": "synthetic, of another kind than was calibrated on",
    "noise": "standard normal",
}
_DECIMALS_OF_MS = 4


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

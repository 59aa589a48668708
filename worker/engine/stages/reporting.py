"""Report: write the report of the compression."""

from dataclasses import asdict, replace
from pathlib import Path

from convpress import report as records
from worker.engine.progress import Progress
from worker.engine.report import account, file, measurements, outcome
from worker.engine.request import Request
from worker.engine.selection.objective import FixedRank
from worker.engine.stages.searching import Search
from worker.engine.stages.verifying import Verification, risk_of
from worker.engine.stages.writing import WrittenArtifact

_LARGER_IN_INT8 = (
    "the file is larger than that of the model: what int8 adds to it takes more than the weights "
    "save"
)


def write_report(
    request: Request,
    artifact: WrittenArtifact,
    verification: Verification,
    progress: Progress,
    search: Search | None = None,
) -> None:
    """Write the report to the request's report path; `search` is the one for a promise."""
    progress.enter("storing")
    profile = artifact.original.profile
    timing = measurements.timing(request.format, verification.timings)
    record = records.Report(
        account_complete=not profile.unaccounted,
        unaccounted=account.unaccounted(profile),
        restored=account.restored(
            artifact.original.restored,
            request.precision,
            has_integers=verification.profile.integer_macs > 0,
        ),
        sized_by_values=account.sized_by_values(
            profile, other_rows=verification.has_other_rows
        ),
        evaluation=verification.evaluation,
        tried=[] if search is None else list(search.tried),
        format=request.format,
        inputs=artifact.original.inputs,
        convention=account.CONVENTION,
        precision=request.precision,
        budget=_budget(request, artifact, search),
        before=_before(request, artifact, timing),
        after=_after(request, verification, timing),
        keep=verification.profile.macs / profile.macs,
        sites=artifact.sites,
        uncounted=account.uncounted(profile),
        predicted_error=artifact.predicted_error,
        frontier=artifact.frontier,
        calibration=records.Calibration(**artifact.calibration),
        latency=_latency(artifact, verification),
        timing=timing,
        verification=_verification(artifact, verification),
        risk=risk_of(artifact, verification),
        engine=measurements.engine(
            request.format, progress.seconds, reused=artifact.reused
        ),
    )
    # members of the calibration that do not apply are left out of the file
    file.write(request.report, asdict(record) | {"calibration": artifact.calibration})


def _budget(
    request: Request, artifact: WrittenArtifact, search: Search | None
) -> records.BudgetReport:
    """Return the budgets with their amounts, and the promise that the one of FLOPs keeps."""
    members = outcome.budget(
        artifact.goal, artifact.latency, unchanged=artifact.unchanged
    )
    notes = [members.get("note"), artifact.note]
    if any(site.int8 for site in artifact.sites) and _is_larger(request):
        notes.append(_LARGER_IN_INT8)
    if search is not None:
        members = {
            **members,
            "promise": f"{search.promise.field}={search.promise.text}",
        }
        notes.append(search.note)
    if isinstance(artifact.goal, FixedRank):
        return members
    return {**members, "note": "; ".join(str(note) for note in notes if note) or None}


def _is_larger(request: Request) -> bool:
    """Whether the artifact's file is larger than that of the model."""
    return Path(request.output).stat().st_size > Path(request.model).stat().st_size


def _before(
    request: Request, artifact: WrittenArtifact, timing: records.Timing
) -> records.Cost:
    original, size = artifact.original, Path(request.model).stat().st_size
    return account.cost(original.posted, original.parameters, size, timing.before)


def _after(
    request: Request, verification: Verification, timing: records.Timing
) -> records.Cost:
    size = Path(request.output).stat().st_size
    profile, parameters = verification.profile, verification.parameters
    return account.cost(profile, parameters, size, timing.after)


def _latency(
    artifact: WrittenArtifact, verification: Verification
) -> records.Latency | None:
    if artifact.latency is None:
        return None
    # the processor's time is that of the model even on a busy host
    original_ms = verification.timings.original.processor.median_ms
    expected_ms = outcome.expected_ms(artifact.latency, original_ms)
    return replace(artifact.latency, expected_after_ms=expected_ms)


def _verification(
    artifact: WrittenArtifact, verification: Verification
) -> records.Verification:
    return measurements.verification(
        verification.comparisons, artifact.comparison_inputs
    )

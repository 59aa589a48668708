"""The stored report of a job, read for a page."""

import structlog
from pydantic import ValidationError

from app.db.models import Job
from app.storage import artifact_key, get_storage
from convpress import budgets
from convpress.report import Report

log = structlog.get_logger(__name__)


def read(job: Job) -> Report | None:
    """Return a job's report, or None where there is none: not made yet, deleted, or of another version's making."""
    if job.report_sha256 is None or job.expired_at is not None:
        return None
    try:
        return Report.model_validate_json(
            get_storage().content(artifact_key(job.id, job.report_sha256))
        )
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("a report that cannot be shown", job_id=str(job.id), error=str(error)[:500])
        return None


def kind(report: Report) -> budgets.BudgetKind:
    """Return the kind of the first budget that was given, which is what the frontier goes along."""
    known = [kind for field, kind in budgets.KINDS.items() if field in report.budget]
    return known[0] if known else budgets.FLOPS


def kept(report: Report) -> float:
    """Return what the job has kept in what its first budget counts."""
    match kind(report).unit:
        case "macs":
            return report.keep
        case "nanoseconds":
            before, after = report.before.latency_ms, report.after.latency_ms
            if report.latency is not None:
                before, after = (
                    report.latency.predicted_before_ms,
                    report.latency.predicted_after_ms,
                )
            return (after or 0.0) / before if before else report.keep
        case unit:
            return float(getattr(report.after, unit) / max(getattr(report.before, unit), 1))


def choices(report: Report) -> list[tuple[float, float]]:
    """Return what other budgets of the first's kind would give: what is kept of it, and the error predicted."""
    return [
        (point.keep if point.budget_keep is None else point.budget_keep, point.predicted_error**0.5)
        for point in report.frontier
    ]


def curve(report: Report) -> list[tuple[float, float]]:
    """Return what other budgets would give: fractions of the FLOPs, and the relative error predicted at each."""
    return [(point.keep, point.predicted_error**0.5) for point in report.frontier]


def output_error(report: Report) -> float:
    """Return the relative error of the outputs: as measured, else as predicted."""
    measured = report.verification.relative_error
    return report.predicted_error**0.5 if measured is None else measured

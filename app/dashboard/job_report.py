"""The stored report of a job, and the figures that pages take from it."""

import hashlib
import math
from dataclasses import replace
from typing import NamedTuple, TypeVar

import structlog
from pydantic import ValidationError

from app.db.models import Job
from app.storage import artifact_key, get_storage
from convpress import budgets
from convpress.options import ADVICE, COMPRESSION
from convpress.report import Cost, Report
from convpress.report.advice import Advice

# Some three thousand layers. A larger report is a download: to read it takes ten times its size,
# and the API has about 100 MB.
LARGEST_BYTES = 2 * 1024**2

log = structlog.get_logger(__name__)

Stored = TypeVar("Stored", Report, Advice)


class Summary(NamedTuple):
    """What pages of many jobs show of each: figures, the level of risk and the frontier in FLOPs.

    `keep` is the fraction of the FLOPs. The errors are relative errors of the outputs; `measured`
    and `agreement` are None where nothing could be compared. The latencies are those of the
    processor, by the clock in reports without them. `curve` has (fraction kept, predicted relative
    error).
    """

    keep: float
    before: Cost
    after: Cost
    latency_before_ms: float | None
    latency_after_ms: float | None
    measured: float | None
    predicted: float
    agreement: float | None
    risk: str
    calibration: str
    is_complete: bool
    curve: list[tuple[float, float]]


def summary(report: Report) -> Summary:
    """Return the figures of a report; pages of many jobs hold these and not the reports."""
    timing = report.timing
    return Summary(
        keep=report.keep,
        latency_before_ms=timing.before.processor.median_ms
        if timing
        else report.before.latency_ms,
        latency_after_ms=timing.after.processor.median_ms
        if timing
        else report.after.latency_ms,
        # without the paths through the model, which grow with it
        before=replace(report.before, courses=[]),
        after=replace(report.after, courses=[]),
        measured=measured_error(report),
        predicted=predicted_error(report),
        agreement=report.verification.agreement,
        risk=report.risk.level,
        calibration=report.calibration.kind,
        is_complete=report.account_complete,
        curve=curve(report),
    )


def read(job: Job) -> Report | None:
    """Return a job's report; None for an advice, and as in `_stored`."""
    return _stored(job, Report) if job.kind == COMPRESSION else None


def read_advice(job: Job) -> Advice | None:
    """Return the advice of a job; None for other jobs, and as in `_stored`."""
    return _stored(job, Advice) if job.kind == ADVICE else None


def _stored(job: Job, kind: type[Stored]) -> Stored | None:
    """Return the record in a job's report.

    None where it is not made yet, deleted, damaged, of another version, or too large for a page.
    """
    if job.report_sha256 is None or job.expired_at is not None:
        return None
    key = artifact_key(job.id, job.report_sha256)
    storage = get_storage()
    try:
        if (storage.size(key) or 0) > LARGEST_BYTES:
            return None
        content = storage.content(key)
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != job.report_sha256:
        log.error(
            "a stored file is damaged", job_id=str(job.id), sha256=job.report_sha256
        )
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        log.warning(
            "the report cannot be shown", job_id=str(job.id), error=str(error)[:500]
        )
        return None


def kind(report: Report) -> budgets.BudgetKind:
    """Return the kind of the job's first budget; the frontier follows it."""
    kinds = [kind for field, kind in budgets.KINDS.items() if field in report.budget]
    return kinds[0] if kinds else budgets.FLOPS


def kept(report: Report) -> float:
    """Return the fraction that the job kept, in the unit of its first budget."""
    return kind(report).kept(report)


def choices(report: Report) -> list[tuple[float, float]]:
    """Return the frontier in the first budget's unit: (fraction kept, predicted relative error)."""
    return [
        (
            point.keep if point.budget_keep is None else point.budget_keep,
            point.predicted_error**0.5,
        )
        for point in report.frontier
    ]


def curve(report: Report) -> list[tuple[float, float]]:
    """Return the frontier in FLOPs: (fraction kept, predicted relative error)."""
    return [(point.keep, point.predicted_error**0.5) for point in report.frontier]


def measured_error(report: Report) -> float | None:
    """Return the relative error of the outputs as it was measured; None without a measurement."""
    return report.verification.relative_error


def predicted_error(report: Report) -> float:
    """Return the relative error of the outputs as it was predicted from the layers."""
    return math.sqrt(report.predicted_error)

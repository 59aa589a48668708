"""The predicted error at other budgets, read from the report of a job."""

import hashlib

import structlog
from pydantic import BaseModel, ValidationError

from app.db.models import Job
from app.errors import Problem
from app.storage import Storage, artifact_key
from convpress import budgets, schemas
from convpress.report import Few, Point

# To read a report takes some ten times its size, and the API has about 100 MB.
_LARGEST_BYTES = 2 * 1024**2

log = structlog.get_logger(__name__)


class _Reported(BaseModel):
    """The two members of a report that tell the frontier."""

    budget: dict[str, object]
    frontier: Few[Point]


def read_frontier(job: Job, storage: Storage) -> schemas.Frontier:
    """Return the frontier of a job that has succeeded.

    Raises:
        Problem: `file_gone` or `file_damaged` for its report, `report_unreadable` for one that is
            too large, or of another version.
    """
    assert job.report_sha256 is not None  # a job that has succeeded has a report
    key = artifact_key(job.id, job.report_sha256)
    try:
        size = storage.size(key) or 0
        if size > _LARGEST_BYTES:
            raise _unreadable(
                "too large to be read here",
                f"at most {_LARGEST_BYTES} bytes",
                f"{size} bytes",
            )
        content = storage.content(key)
    except FileNotFoundError as error:
        raise Problem(
            "file_gone",
            "the store no longer has the report",
            got=f"SHA-256 {job.report_sha256}",
        ) from error
    if hashlib.sha256(content).hexdigest() != job.report_sha256:
        log.error("a stored file is damaged", key=key, sha256=job.report_sha256)
        raise Problem(
            "file_damaged",
            "the stored report has changed since the job made it; post the job again",
            got=f"SHA-256 other than {job.report_sha256}",
        )
    try:
        report = _Reported.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(
            "of another version", "the members budget and frontier", None
        ) from error
    fields = [field for field in budgets.KINDS if field in report.budget]
    varied = fields[0] if fields else budgets.FLOPS.field
    return schemas.Frontier(budget=varied, points=report.frontier)


def _unreadable(reason: str, expected: str, got: str | None) -> Problem:
    return Problem(
        "report_unreadable",
        f"the report is {reason}; GET /jobs/{{id}}/report returns it as it is",
        expected=expected,
        got=got,
    )

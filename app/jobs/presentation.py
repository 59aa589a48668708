"""The JSON records of jobs and models, made of rows with or without the ORM."""

from dataclasses import asdict

from sqlalchemy.orm import Session

from app.db import models
from app.errors import document
from app.jobs import owned_models
from app.jobs.rows import JobRow
from convpress import schemas
from convpress.budgets import KINDS
from convpress.formats import named
from convpress.report import Evaluation, Inspection, Unaccounted
from convpress.states import TERMINAL

AnyJob = models.Job | JobRow

_TIME_NOT_KNOWN = (
    "too little of the work is done to say, or all of it takes a few seconds"
)


def job_json(job: AnyJob) -> bytes:
    """Return the JSON of a job as bytes; a row that several requests share is serialised once."""
    if not isinstance(job, JobRow):
        return present_job(job).model_dump_json().encode()
    if job.json is None:
        job.json = present_job(job).model_dump_json().encode()
    return job.json


def present_job(job: AnyJob) -> schemas.Job:
    """Return the JSON record of a job."""
    options = asdict(job.options)
    budgets = {**dict.fromkeys(KINDS), **options.pop("budgets")}
    return schemas.Job(
        id=job.id,
        state=job.state,
        phase=job.phase,
        progress=job.progress,
        eta_seconds=eta_seconds(job),
        eta_reason=_eta_reason(job),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        model=schemas.UploadedModel(
            filename=job.filename,
            format=named(job.model.format),
            sha256=job.model.sha256,
            bytes=job.model.bytes,
        ),
        **budgets,
        **options,
        labels=job.labels,
        note=job.note,
        result=_result(job),
        advice=None if job.advice is None else schemas.AdviceSummary(**job.advice),
        error=_error(job),
        expired_at=job.expired_at,
    )


def eta_seconds(job: AnyJob) -> float | None:
    """Return about how long a running job takes yet, None where that is not known."""
    if job.state != "running" or job.eta_seconds is None:
        return None
    return round(job.eta_seconds, 1)


def _eta_reason(job: AnyJob) -> str | None:
    """Return why the time left is not known, None where it is."""
    if job.state == "queued":
        return "the job waits for a worker"
    if job.state in TERMINAL:
        return "the job has ended"
    return _TIME_NOT_KNOWN if job.eta_seconds is None else None


def present_model(session: Session, model: models.Model) -> schemas.StoredModel:
    """Return the JSON record of a model, as the current owner may know it."""
    known = owned_models.view(session, model)
    inspection = None
    if known.inspection is not None:
        inspection = Inspection.model_validate(known.inspection)
    return schemas.StoredModel(
        sha256=model.sha256,
        format=named(model.format),
        bytes=model.bytes,
        created_at=known.created_at,
        used_at=known.used_at,
        expired_at=model.expired_at,
        inspection=inspection,
        jobs=f"/jobs?model_sha256={model.sha256}",
    )


def href(job: AnyJob, part: str = "") -> str:
    """Return the path of a job, or of a part of it."""
    return f"/jobs/{job.id}{part}"


def _result(job: AnyJob) -> schemas.Result | None:
    if (
        job.macs_before is None
        or job.macs_after is None
        or job.artifact_sha256 is None
        or job.artifact_bytes is None
    ):
        return None
    artifact = schemas.Artifact(
        sha256=job.artifact_sha256,
        bytes=job.artifact_bytes,
        href=href(job, "/artifact"),
        damaged_at=job.artifact_damaged_at,
    )
    unaccounted = job.unaccounted
    return schemas.Result(
        account_complete=None if unaccounted is None else not unaccounted,
        unaccounted=[Unaccounted(**operator) for operator in unaccounted or ()],
        macs_before=job.macs_before,
        macs_after=job.macs_after,
        keep=job.macs_after / job.macs_before,
        evaluation=None if job.evaluation is None else Evaluation(**job.evaluation),
        artifact=artifact,
    )


def _error(job: AnyJob) -> schemas.Problem | None:
    if not job.error:
        return None
    return schemas.Problem.model_validate(document(job.error, href(job)))

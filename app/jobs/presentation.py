"""Jobs and models as JSON records: from a row, or a row that was read without the ORM, to what the API sends."""

from typing import cast

from app.db import models
from app.errors import document
from app.jobs.rows import JobRow
from convpress import schemas
from convpress.calibration import Calibration
from convpress.formats import named
from convpress.report import Inspection

AnyJob = models.Job | JobRow


def job_json(job: AnyJob) -> bytes:
    """Return the JSON of a job as bytes; a row that several requests share is serialised once."""
    if not isinstance(job, JobRow):
        return present_job(job).model_dump_json().encode()
    if job.json is None:
        job.json = present_job(job).model_dump_json().encode()
    return job.json


def present_job(job: AnyJob) -> schemas.Job:
    """Return the JSON record of a job."""
    return schemas.Job(
        id=job.id,
        state=job.state,
        phase=job.phase,
        progress=job.progress,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        model=schemas.UploadedModel(
            filename=job.filename,
            format=named(job.model.format),
            sha256=job.model.sha256,
            bytes=job.model.bytes,
        ),
        flops_budget=job.flops_budget or None,
        params_budget=job.params_budget or None,
        bytes_budget=job.bytes_budget or None,
        latency_budget=job.latency_budget or None,
        flops_at_any_price=job.flops_at_any_price,
        input_shape=job.input_shape,
        calibration=cast("Calibration", job.calibration),
        samples_sha256=job.samples_sha256,
        input_range=job.input_range,
        input_mean=job.input_mean,
        input_std=job.input_std,
        labels=job.labels,
        result=_result(job),
        error=_error(job),
        expired_at=job.expired_at,
    )


def present_model(model: models.Model) -> schemas.StoredModel:
    """Return the JSON record of a model."""
    return schemas.StoredModel(
        sha256=model.sha256,
        format=named(model.format),
        bytes=model.bytes,
        created_at=model.created_at,
        used_at=model.used_at,
        expired_at=model.expired_at,
        inspection=None
        if model.inspection is None
        else Inspection.model_validate(model.inspection),
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
    return schemas.Result(
        macs_before=job.macs_before,
        macs_after=job.macs_after,
        keep=job.macs_after / job.macs_before,
        artifact=schemas.Artifact(
            sha256=job.artifact_sha256, bytes=job.artifact_bytes, href=href(job, "/artifact")
        ),
    )


def _error(job: AnyJob) -> schemas.Problem | None:
    return schemas.Problem.model_validate(document(job.error, href(job))) if job.error else None

"""What the API says about a job, field by field; the JSON is stable."""

import uuid
from datetime import datetime
from typing import Self, cast

from pydantic import BaseModel, ConfigDict, Field

from app import models
from app.errors import document
from app.models import State
from app.sight import SeenJob
from contract.calibration import Calibration
from contract.container import Format

_SHA256 = "9f2c1e0d3b5a49788c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3"
_ID = "6f2c8b1e-3d4a-4c5b-9e7f-0a1b2c3d4e5f"


class Problem(BaseModel):
    """What went wrong, by RFC 9457; `code` is stable, the sentences are for people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Stable name of the problem")
    field: str | None = Field(None, description="The input that is to blame")
    expected: str | None = Field(None, description="What it may be")
    got: str | None = Field(None, description="What it was")


class UploadedModel(BaseModel):
    """The model that was uploaded."""

    filename: str
    format: Format
    sha256: str
    bytes: int


class StoredModel(BaseModel):
    """A model that was uploaded, and whether it is still there."""

    sha256: str
    format: Format
    bytes: int
    created_at: datetime = Field(description="When it first came")
    used_at: datetime = Field(description="When a job was last posted for it")
    expired_at: datetime | None = Field(description="When its file was deleted; null while it is stored")
    jobs: str = Field(description="Where its jobs are listed")

    @classmethod
    def of(cls, model: models.Model) -> Self:
        """Present a model."""
        return cls(
            sha256=model.sha256,
            format=cast("Format", model.format),
            bytes=model.bytes,
            created_at=model.created_at,
            used_at=model.used_at,
            expired_at=model.expired_at,
            jobs=f"/jobs?model_sha256={model.sha256}",
        )


class Artifact(BaseModel):
    """The compressed model, in the format of the original."""

    sha256: str
    bytes: int
    href: str


class Result(BaseModel):
    """What the compression achieved; one MAC is two FLOPs."""

    macs_before: int
    macs_after: int
    keep: float = Field(description="macs_after / macs_before")
    artifact: Artifact


class Job(BaseModel):
    """One compression of one model to one budget."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _ID,
                "state": "succeeded",
                "phase": None,
                "progress": 1.0,
                "created_at": "2026-05-04T03:02:01.123456Z",
                "started_at": "2026-05-04T03:02:01.345678Z",
                "finished_at": "2026-05-04T03:02:09.876543Z",
                "model": {"filename": "resnet20.onnx", "format": "onnx", "sha256": _SHA256, "bytes": 1_092_211},
                "flops_budget": "0.5",
                "input_shape": "1x3x32x32",
                "calibration": "synthetic",
                "samples_sha256": None,
                "input_range": None,
                "input_mean": "0.485,0.456,0.406",
                "input_std": "0.229,0.224,0.225",
                "labels": {"team": "vision"},
                "result": {
                    "macs_before": 40_813_184,
                    "macs_after": 20_187_392,
                    "keep": 0.4946,
                    "artifact": {"sha256": _SHA256[::-1], "bytes": 612_345, "href": f"/jobs/{_ID}/artifact"},
                },
                "error": None,
                "expired_at": None,
            }
        }
    )

    id: uuid.UUID
    state: State
    phase: str | None = Field(description="What a running job does: loading, measuring, factoring ... storing")
    progress: float = Field(description="How much of the job is done, from 0 to 1")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    model: UploadedModel
    flops_budget: str
    input_shape: str | None
    calibration: Calibration
    samples_sha256: str | None = Field(description="Of the real samples that came with the job")
    input_range: str | None = Field(description="What values the inputs have, as it was told")
    input_mean: str | None
    input_std: str | None
    labels: dict[str, str]
    result: Result | None = Field(description="Set when the job has succeeded")
    error: Problem | None = Field(description="Set when the job has failed")
    expired_at: datetime | None = Field(description="When retention deleted what the job had made")

    @classmethod
    def of(cls, job: models.Job | SeenJob) -> Self:
        """Present a job."""
        return cls(
            id=job.id,
            state=job.state,
            phase=job.phase,
            progress=job.progress,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            model=UploadedModel(
                filename=job.filename,
                format=cast("Format", job.model.format),
                sha256=job.model.sha256,
                bytes=job.model.bytes,
            ),
            flops_budget=job.flops_budget,
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


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(description="Ask with `?cursor=` for the jobs before these; null on the last page")


class Readiness(BaseModel):
    """What the service needs, and that each of it answers."""

    database: str
    storage: str
    broker: str


def href(job: models.Job | SeenJob, part: str = "") -> str:
    """Return where a job, or a part of it, is found."""
    return f"/jobs/{job.id}{part}"


def _result(job: models.Job | SeenJob) -> Result | None:
    if job.macs_before is None or job.macs_after is None or job.artifact_sha256 is None or job.artifact_bytes is None:
        return None
    return Result(
        macs_before=job.macs_before,
        macs_after=job.macs_after,
        keep=job.macs_after / job.macs_before,
        artifact=Artifact(sha256=job.artifact_sha256, bytes=job.artifact_bytes, href=href(job, "/artifact")),
    )


def _error(job: models.Job | SeenJob) -> Problem | None:
    return Problem.model_validate(document(job.error, href(job))) if job.error else None

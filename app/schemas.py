"""What the API says about a job, field by field; the JSON is stable."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from app import figures, models
from app.errors import document
from app.models import State
from app.report import Inspection
from app.tallies import BUCKETS, REQUEST_BUCKETS
from contract.calibration import Calibration
from contract.container import Format

if TYPE_CHECKING:
    from app.sight import SeenJob

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
    inspection: Inspection | None = Field(
        description="What it takes, gives and costs, layer by layer, as the last job saw it that opened it; null before"
    )
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
            inspection=None if model.inspection is None else Inspection.model_validate(model.inspection),
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
    """One compression of one model to one budget, or to several at once."""

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
                "params_budget": None,
                "bytes_budget": None,
                "latency_budget": None,
                "flops_at_any_price": False,
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
    flops_budget: str | None = Field(description="What to keep, as it was asked for; at least one budget is set")
    params_budget: str | None
    bytes_budget: str | None
    latency_budget: str | None
    flops_at_any_price: bool
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
    def of(cls, job: "models.Job | SeenJob") -> Self:
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


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(description="Ask with `?cursor=` for the jobs before these; null on the last page")


class Bucket(BaseModel):
    """What happened between `start` and the next bucket's start."""

    start: datetime
    created: int
    succeeded: int
    failed: int
    cancelled: int


class StoredBytes(BaseModel):
    """How much is kept."""

    models: int
    analyses: int = Field(description="What was learned of the models, so that another budget takes less time")
    samples: int
    artifacts: int


class Worker(BaseModel):
    """A worker that has shown itself within the last minute."""

    name: str
    slots: int = Field(description="Jobs that it can run at a time")
    leases: int = Field(description="Jobs that it holds")
    started_at: datetime
    seen_at: datetime


class PhaseTimes(BaseModel):
    """How long a phase took, over all jobs that have succeeded."""

    count: int
    seconds: float = Field(description="Together")
    at_most: dict[str, int] = Field(description="How many took at most so many seconds")


class RequestTimes(BaseModel):
    """How long the requests of one kind took until their answer began, without what they asked to be held."""

    method: str
    route: str
    status: int
    count: int
    seconds: float = Field(description="Together")
    at_most: dict[str, int] = Field(description="How many took at most so many seconds")


class ServiceStats(BaseModel):
    """What concerns the whole service, since its beginning where it counts."""

    workers: list[Worker]
    leases: int
    overdue_leases: int = Field(description="Run out, and not returned yet")
    due_webhooks: int
    flops_saved: float = Field(description="FLOPs that one run of every artifact needs less than its original")
    phases: dict[str, PhaseTimes]
    requests: list[RequestTimes]


class Stats(BaseModel):
    """The figures of the jobs that the caller may see."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "at": "2026-05-04T03:02:01.123456Z",
                "jobs": {"queued": 3, "running": 2, "succeeded": 1841, "failed": 17, "cancelled": 4},
                "queue_age_seconds": 12.5,
                "failures": {"budget_unreachable": 15, "worker_lost": 2},
                "stored_bytes": {"models": 91_202_113, "analyses": 31_457_280, "samples": 0, "artifacts": 48_213_001},
                "history": [
                    {"start": "2026-05-04T03:00:00Z", "created": 9, "succeeded": 7, "failed": 1, "cancelled": 0}
                ],
                "service": {
                    "workers": [
                        {
                            "name": "worker-1:17",
                            "slots": 1,
                            "leases": 1,
                            "started_at": "2026-05-04T01:00:00Z",
                            "seen_at": "2026-05-04T03:02:00Z",
                        }
                    ],
                    "leases": 2,
                    "overdue_leases": 0,
                    "due_webhooks": 0,
                    "flops_saved": 8.1e12,
                    "phases": {"loading": {"count": 2, "seconds": 0.7, "at_most": {"0.1": 0, "0.5": 2, "inf": 2}}},
                    "requests": [
                        {
                            "method": "POST",
                            "route": "/jobs",
                            "status": 202,
                            "count": 2,
                            "seconds": 0.3,
                            "at_most": {"0.1": 1, "0.25": 2, "inf": 2},
                        }
                    ],
                },
            }
        }
    )

    at: datetime
    jobs: dict[State, int] = Field(description="Jobs that are known, by state")
    queue_age_seconds: float | None = Field(
        description="How long the first in the queue has waited; null if it is empty"
    )
    failures: dict[str, int] = Field(description="Known jobs that have failed, by code")
    stored_bytes: StoredBytes
    history: list[Bucket] = Field(description="Oldest first; the last bucket is still open")
    service: ServiceStats | None = Field(description="null for who may see the jobs of one owner alone")

    @classmethod
    def of(
        cls, at: datetime, jobs: figures.Jobs, history: Sequence[figures.Bucket], service: figures.Service | None
    ) -> Self:
        """Present figures."""
        oldest = jobs.oldest_queued_at
        return cls(
            at=at,
            jobs=dict(jobs.states),
            queue_age_seconds=None if oldest is None else max(0.0, (at - oldest).total_seconds()),
            failures=dict(jobs.failures),
            stored_bytes=StoredBytes(**jobs.stored_bytes),
            history=[Bucket(start=bucket.start, created=bucket.created, **bucket.ended) for bucket in history],
            service=None if service is None else _service(service),
        )


def _service(service: figures.Service) -> ServiceStats:
    return ServiceStats(
        workers=[Worker(**worker._asdict()) for worker in service.workers],
        leases=service.leases,
        overdue_leases=service.overdue_leases,
        due_webhooks=service.due_webhooks,
        flops_saved=service.flops_saved,
        phases={
            phase: PhaseTimes(
                count=told.at_most[-1],
                seconds=told.total,
                at_most=_at_most(BUCKETS, told),
            )
            for phase, told in service.phases.items()
        },
        requests=[
            RequestTimes(
                method=method,
                route=route,
                status=int(status),
                count=told.at_most[-1],
                seconds=told.total,
                at_most=_at_most(REQUEST_BUCKETS, told),
            )
            for (method, route, status), told in service.requests.items()
        ],
    )


def _at_most(bounds: Sequence[float], told: figures.Histogram) -> dict[str, int]:
    return {f"{bound:g}": count for bound, count in zip(bounds, told.at_most, strict=True)}


class Readiness(BaseModel):
    """What the service needs, and that each of it answers."""

    database: str
    storage: str
    broker: str


def href(job: "models.Job | SeenJob", part: str = "") -> str:
    """Return where a job, or a part of it, is found."""
    return f"/jobs/{job.id}{part}"


def _result(job: "models.Job | SeenJob") -> Result | None:
    if job.macs_before is None or job.macs_after is None or job.artifact_sha256 is None or job.artifact_bytes is None:
        return None
    return Result(
        macs_before=job.macs_before,
        macs_after=job.macs_after,
        keep=job.macs_after / job.macs_before,
        artifact=Artifact(sha256=job.artifact_sha256, bytes=job.artifact_bytes, href=href(job, "/artifact")),
    )


def _error(job: "models.Job | SeenJob") -> Problem | None:
    return Problem.model_validate(document(job.error, href(job))) if job.error else None

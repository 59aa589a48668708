"""The JSON of `GET /stats`; every field is stable."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.stats import queries
from app.stats.counters import BUCKETS, REQUEST_BUCKETS
from convpress.states import State


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
    analyses: int = Field(
        description="What was learned of the models, so that another budget takes less time"
    )
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
    flops_saved: float = Field(
        description="FLOPs that one run of every artifact needs less than its original"
    )
    phases: dict[str, PhaseTimes]
    requests: list[RequestTimes]


class Stats(BaseModel):
    """The figures of the jobs that the caller may see."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "at": "2026-05-04T03:02:01.123456Z",
                "jobs": {
                    "queued": 3,
                    "running": 2,
                    "succeeded": 1841,
                    "failed": 17,
                    "cancelled": 4,
                },
                "queue_age_seconds": 12.5,
                "failures": {"budget_unreachable": 15, "worker_lost": 2},
                "stored_bytes": {
                    "models": 91_202_113,
                    "analyses": 31_457_280,
                    "samples": 0,
                    "artifacts": 48_213_001,
                },
                "history": [
                    {
                        "start": "2026-05-04T03:00:00Z",
                        "created": 9,
                        "succeeded": 7,
                        "failed": 1,
                        "cancelled": 0,
                    }
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
                    "phases": {
                        "loading": {
                            "count": 2,
                            "seconds": 0.7,
                            "at_most": {"0.1": 0, "0.5": 2, "inf": 2},
                        }
                    },
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
    service: ServiceStats | None = Field(
        description="null for who may see the jobs of one owner alone"
    )

    @classmethod
    def of(
        cls,
        at: datetime,
        jobs: queries.Jobs,
        history: Sequence[queries.Bucket],
        service: queries.Service | None,
    ) -> Self:
        """Present figures."""
        oldest = jobs.oldest_queued_at
        return cls(
            at=at,
            jobs=dict(jobs.states),
            queue_age_seconds=None if oldest is None else max(0.0, (at - oldest).total_seconds()),
            failures=dict(jobs.failures),
            stored_bytes=StoredBytes(**jobs.stored_bytes),
            history=[
                Bucket(start=bucket.start, created=bucket.created, **bucket.ended)
                for bucket in history
            ],
            service=None if service is None else _service(service),
        )


def _service(service: queries.Service) -> ServiceStats:
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


def _at_most(bounds: Sequence[float], told: queries.Histogram) -> dict[str, int]:
    return {f"{bound:g}": count for bound, count in zip(bounds, told.at_most, strict=True)}

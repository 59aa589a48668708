"""The JSON of `GET /stats`; field names are stable."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.stats import queries
from app.stats.counters import BUCKETS, REQUEST_BUCKETS
from convpress.states import State


class Bucket(BaseModel):
    """Jobs created and ended between `start` and the next bucket's start."""

    start: datetime
    created: int
    succeeded: int
    failed: int
    cancelled: int


class StoredBytes(BaseModel):
    """Bytes of stored files."""

    models: int
    analyses: int = Field(
        description="Kept analyses of models, which make another budget faster"
    )
    samples: int
    evaluations: int
    artifacts: int


class Worker(BaseModel):
    """A worker that was seen within the last minute."""

    name: str
    slots: int = Field(description="Jobs that it can run at a time")
    leases: int = Field(description="Jobs that it holds")
    started_at: datetime
    seen_at: datetime


class PhaseTimes(BaseModel):
    """Durations of a phase, over all jobs that have succeeded."""

    count: int
    seconds: float = Field(description="Total duration")
    at_most: dict[str, int] = Field(description="Number by upper bound in seconds")


class RequestTimes(BaseModel):
    """Durations of one kind of request until its answer began, without the time of `wait`."""

    method: str
    route: str
    status: int
    count: int
    seconds: float = Field(description="Total duration")
    at_most: dict[str, int] = Field(description="Number by upper bound in seconds")


class ServiceStats(BaseModel):
    """Statistics of the whole service; counters run since its beginning."""

    workers: list[Worker]
    leases: int
    overdue_leases: int = Field(
        description="Leases that have run out and are not returned yet"
    )
    due_webhooks: int
    flops_saved: float = Field(
        description="FLOPs that one run of every artifact saves against its original"
    )
    phases: dict[str, PhaseTimes]
    requests: list[RequestTimes]


class Stats(BaseModel):
    """Statistics of the jobs that the caller may see."""

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
                    "evaluations": 0,
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
    jobs: dict[State, int] = Field(description="Known jobs by state")
    queue_age_seconds: float | None = Field(
        description="Wait of the first job in the queue; null if the queue is empty"
    )
    failures: dict[str, int] = Field(description="Known failed jobs by code")
    stored_bytes: StoredBytes
    history: list[Bucket] = Field(
        description="Oldest first; the last bucket is still open"
    )
    service: ServiceStats | None = Field(
        description="null for callers who may see only their own jobs"
    )

    @classmethod
    def of(
        cls,
        at: datetime,
        jobs: queries.Jobs,
        history: Sequence[queries.Bucket],
        service: queries.Service | None,
    ) -> Self:
        """Return the JSON record of statistics."""
        return cls(
            at=at,
            jobs=dict(jobs.states),
            queue_age_seconds=queue_age(at, jobs),
            failures=dict(jobs.failures),
            stored_bytes=StoredBytes(**jobs.stored_bytes),
            history=[_bucket(bucket) for bucket in history],
            service=None if service is None else _service(service),
        )


def queue_age(at: datetime, jobs: queries.Jobs) -> float | None:
    """Return the seconds that the first job in the queue has waited, or None without a queue."""
    if jobs.oldest_queued_at is None:
        return None
    # Never negative, also if a clock was set back.
    return max(0.0, (at - jobs.oldest_queued_at).total_seconds())


def _bucket(bucket: queries.Bucket) -> Bucket:
    return Bucket(start=bucket.start, created=bucket.created, **bucket.ended)


def _service(service: queries.Service) -> ServiceStats:
    return ServiceStats(
        workers=[Worker(**worker._asdict()) for worker in service.workers],
        leases=service.leases,
        overdue_leases=service.overdue_leases,
        due_webhooks=service.due_webhooks,
        flops_saved=service.flops_saved,
        phases={phase: _phase_times(times) for phase, times in service.phases.items()},
        requests=[
            _request_times(labels, times) for labels, times in service.requests.items()
        ],
    )


def _phase_times(times: queries.Histogram) -> PhaseTimes:
    return PhaseTimes(
        count=times.at_most[-1],
        seconds=times.total,
        at_most=_at_most(BUCKETS, times),
    )


def _request_times(
    labels: tuple[str, str, str], times: queries.Histogram
) -> RequestTimes:
    method, route, status = labels
    return RequestTimes(
        method=method,
        route=route,
        status=int(status),
        count=times.at_most[-1],
        seconds=times.total,
        at_most=_at_most(REQUEST_BUCKETS, times),
    )


def _at_most(bounds: Sequence[float], times: queries.Histogram) -> dict[str, int]:
    names = [f"{bound:g}" for bound in bounds]
    return dict(zip(names, times.at_most, strict=True))

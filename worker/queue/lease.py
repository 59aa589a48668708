"""Who holds a job: leases in SQL, taken and kept by conditional UPDATEs, so that two workers never both finish one.

Every function is one UPDATE in the caller's transaction, and tells whether it took effect. Times are the database's, so
that a worker whose clock is wrong takes nobody's job.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, update
from sqlalchemy.orm import Session

from app.db.models import Job
from app.db.session import now
from app.jobs.transitions import FREE, change
from app.stats import counters
from convpress.states import State
from worker.engine.request import Phase

BACK_IN_QUEUE: dict[str, Any] = {**FREE, "phase": None, "progress": 0.0, "started_at": None}
"""What a job looks like that a worker had and has no longer."""


@dataclass(frozen=True)
class Lease:
    """A claim on a running job: the `attempt`-th, by `owner` alone."""

    job_id: uuid.UUID
    owner: str
    attempt: int


@dataclass(frozen=True)
class Result:
    """What a job has made; sizes and sums are the worker's own, not the child's."""

    macs_before: int
    macs_after: int
    artifact_sha256: str
    artifact_bytes: int
    report_sha256: str


def new_owner() -> str:
    """Name one claim: where it is held, and by which of many."""
    return f"{worker_name()}:{uuid.uuid4().hex[:12]}"


def worker_name() -> str:
    """Name this process."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def claim(session: Session, job_id: uuid.UUID, owner: str, seconds: float) -> Lease | None:
    """Take a queued job for `seconds`; None where it is not queued any more."""
    began = now(session)
    claimed = change(
        session,
        began,
        "running",
        "claimed by a worker",
        Job.id == job_id,
        Job.state == "queued",
        phase="loading",
        progress=0.0,
        started_at=began,
        attempt=Job.attempt + 1,
        lease_owner=owner,
        lease_expires_at=began + timedelta(seconds=seconds),
    )
    return Lease(job_id, owner, claimed[0].attempt) if claimed else None


def renew(
    session: Session,
    lease: Lease,
    seconds: float,
    phase: Phase | None = None,
    progress: float = 0.0,
) -> bool:
    """Hold on for another `seconds` from now, and tell how far the job is where `phase` is given."""
    told = {} if phase is None else {"phase": phase, "progress": progress}
    result = session.execute(
        update(Job)
        .where(*_held(lease))
        .values(lease_expires_at=now(session) + timedelta(seconds=seconds), **told)
        .execution_options(synchronize_session=False)
    )
    assert isinstance(result, CursorResult)  # what an UPDATE gives
    return result.rowcount == 1


def succeed(session: Session, lease: Lease, result: Result, seconds: Mapping[str, float]) -> bool:
    """End the job with its result, and count what it has saved and how long each phase took."""
    if not _end(session, lease, "succeeded", "done", phase=None, progress=1.0, **vars(result)):
        return False
    counters.add(session, counters.of_success(result.macs_before - result.macs_after, seconds))
    return True


def fail(session: Session, lease: Lease, error: dict[str, str]) -> bool:
    """End the job with a problem; it keeps the phase it failed in."""
    return _end(session, lease, "failed", error["code"], error=error)


def give_back(session: Session, lease: Lease, reason: str, *, blameless: bool) -> bool:
    """Put the job back into the queue; a `blameless` attempt (the worker had to go) is not counted."""
    attempt = lease.attempt - (1 if blameless else 0)
    return bool(
        change(
            session, now(session), "queued", reason, *_held(lease), **BACK_IN_QUEUE, attempt=attempt
        )
    )


def _end(session: Session, lease: Lease, state: State, detail: str, **values: Any) -> bool:  # noqa: ANN401 - columns of any type
    return bool(change(session, now(session), state, detail, *_held(lease), **values))


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (Job.id == lease.job_id, Job.state == "running", Job.lease_owner == lease.owner)

"""Leases on jobs: conditional UPDATEs in SQL, so that one worker at most ends a job.

Every function is one UPDATE in the caller's transaction, and returns whether it took effect. Times
are those of the database, so that a worker whose clock is wrong takes no job away from another.
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
from convpress.phases import Phase
from convpress.states import State

BACK_IN_QUEUE: dict[str, Any] = {
    **FREE,
    "phase": None,
    "progress": 0.0,
    "eta_seconds": None,
    "started_at": None,
}
"""The columns of a job that goes back from a worker into the queue."""


@dataclass(frozen=True)
class Lease:
    """A claim of `owner` on a running job, for its `attempt`-th attempt."""

    job_id: uuid.UUID
    owner: str
    attempt: int


@dataclass(frozen=True)
class Result:
    """The results of a job in the store.

    The worker has measured and hashed the files, not the child. `unaccounted` has the members of
    the operators that the account leaves out. `measured_error` is the relative error of the
    outputs, None where nothing was compared. `evaluation` has the members of the report's.
    """

    macs_before: int
    macs_after: int
    unaccounted: list[dict[str, Any]]
    measured_error: float | None
    risk_level: str
    artifact_sha256: str
    artifact_bytes: int
    report_sha256: str
    evaluation: dict[str, Any] | None = None


@dataclass(frozen=True)
class AdviceResult:
    """The results of an advice: its choice and its sentence, and the stored report."""

    advice: dict[str, str | None]
    report_sha256: str


def new_owner() -> str:
    """Return a unique name for a claim, which begins with the name of this process."""
    return f"{worker_name()}:{uuid.uuid4().hex[:12]}"


def worker_name() -> str:
    """Return the name of this process: its host and its process id."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def claim(
    session: Session, job_id: uuid.UUID, owner: str, seconds: float
) -> Lease | None:
    """Take a queued job for `seconds`; return None where it is not queued any more."""
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
        eta_seconds=None,
        started_at=began,
        attempt=Job.attempt + 1,
        lease_owner=owner,
        lease_expires_at=began + timedelta(seconds=seconds),
    )
    if not claimed:
        return None
    return Lease(job_id, owner, claimed[0].attempt)


def renew(
    session: Session,
    lease: Lease,
    seconds: float,
    phase: Phase | None = None,
    progress: float = 0.0,
    eta_seconds: float | None = None,
) -> bool:
    """Hold the lease for another `seconds` from now.

    Record the progress and the seconds that are left if there is a `phase`.
    """
    values: dict[str, Any] = {
        "lease_expires_at": now(session) + timedelta(seconds=seconds)
    }
    if phase is not None:
        values |= {"phase": phase, "progress": progress, "eta_seconds": eta_seconds}
    renewed = update(Job).where(*_held(lease)).values(values)
    result = session.execute(renewed.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)  # the result of an UPDATE
    return result.rowcount == 1


def succeed(
    session: Session,
    lease: Lease,
    result: Result | AdviceResult,
    seconds: Mapping[str, float],
) -> bool:
    """End the job with its result, and count the saved MACs and the seconds of each phase."""
    if not _end(
        session, lease, "succeeded", "done", phase=None, progress=1.0, **vars(result)
    ):
        return False
    saved = result.macs_before - result.macs_after if isinstance(result, Result) else 0
    counters.add(session, counters.of_success(saved, seconds))
    return True


def fail(session: Session, lease: Lease, error: dict[str, str]) -> bool:
    """End the job with a problem; it keeps the phase it failed in."""
    return _end(session, lease, "failed", error["code"], error=error)


def give_back(session: Session, lease: Lease, reason: str, *, blameless: bool) -> bool:
    """Put the job back into the queue.

    A `blameless` attempt does not count (the worker was shutting down).
    """
    attempt = lease.attempt
    if blameless:
        attempt -= 1
    values = {**BACK_IN_QUEUE, "attempt": attempt}
    return bool(
        change(session, now(session), "queued", reason, *_held(lease), **values)
    )


def _end(
    session: Session,
    lease: Lease,
    state: State,
    detail: str,
    **values: Any,  # noqa: ANN401 - columns of any type
) -> bool:
    return bool(change(session, now(session), state, detail, *_held(lease), **values))


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.id == lease.job_id,
        Job.state == "running",
        Job.lease_owner == lease.owner,
    )

"""Set right what broken workers and lost messages leave behind: SQL is the truth, and this makes the rest follow it.

Any number of sweepers may run: each change is a conditional UPDATE, and a ring too many is refused by the lease.
"""

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.changes import change
from app.db import now, transaction
from app.models import Job
from app.queue import ring
from app.settings import Settings, get_settings
from app.storage import get_storage
from app.storage.staging import remove_abandoned
from contract.refusal import Code, Refusal
from worker import expiry
from worker.lease import BACK_IN_QUEUE
from worker.scratch import remove_orphans, scratch_root

_OLD_SECONDS = 3.0
"""Longer than any message is on its way."""
_MOST_RINGS = 1000
_ORPHANS_SECONDS = 3600.0
"""Looking for files that no row knows means to list the store."""

log = structlog.get_logger(__name__)


def worker_lost(attempts: int) -> dict[str, str]:
    """Say why a job failed that no worker survived."""
    detail = f"no worker brought this job to an end in {attempts} attempts: each time the process working on it died"
    return Refusal(Code.WORKER_LOST, detail).as_dict()


def timed_out(seconds: float) -> dict[str, str]:
    """Say why a job failed that took too long."""
    detail = f"the job was not done after {seconds:g} seconds, the longest that this service lets one run"
    return Refusal(Code.JOB_TIMEOUT, detail).as_dict()


def sweep(session: Session, settings: Settings) -> list[uuid.UUID]:
    """Take jobs from their workers where leases or the jobs' own time have run out; return those that wait again."""
    at = now(session)
    running = Job.state == "running"
    too_long = timedelta(seconds=settings.job_timeout_seconds + settings.lease_seconds)  # its worker comes first
    overdue = timed_out(settings.job_timeout_seconds)
    change(session, at, "failed", "overdue", running, Job.started_at < at - too_long, error=overdue)
    expired = (running, Job.lease_expires_at < at)
    lost = worker_lost(settings.max_attempts)
    change(session, at, "failed", lost["code"], *expired, Job.attempt >= settings.max_attempts, error=lost)
    return [job.id for job in change(session, at, "queued", "the lease ran out", *expired, **BACK_IN_QUEUE)]


def unheard(session: Session) -> list[uuid.UUID]:
    """Return the jobs that have been queued for longer than a message is on its way, oldest first.

    Their messages are lost if a worker is idle; if none is, they are just waiting.
    """
    old = now(session) - timedelta(seconds=_OLD_SECONDS)
    waiting = select(Job.id).where(Job.state == "queued", Job.created_at < old).order_by(Job.created_at)
    return list(session.scalars(waiting.limit(_MOST_RINGS)))


def run(stopping: threading.Event, idle: Callable[[], bool]) -> None:
    """Sweep every few seconds until told to stop; what cannot be reached now is swept the next time."""
    settings = get_settings()
    orphans_due = time.monotonic()
    while not stopping.is_set():
        try:
            sweep_and_ring(settings, idle)
            expire(settings)
            if time.monotonic() >= orphans_due:
                expiry.remove_orphans(get_storage())
                orphans_due = time.monotonic() + _ORPHANS_SECONDS
        except (SQLAlchemyError, OSError) as error:
            log.warning("sweep put off", error=str(error))
        stopping.wait(settings.sweep_seconds)


def sweep_and_ring(settings: Settings, idle: Callable[[], bool]) -> None:
    """Put jobs back and ring; `idle` tells whether this worker has nothing to do: then no message waits."""
    with transaction() as session:
        waiting = sweep(session, settings)
    if waiting:
        log.warning("leases ran out", jobs=[str(job) for job in waiting])
    if idle():
        with transaction() as session:
            waiting = unheard(session)
    for job_id in waiting:
        if not ring(job_id):
            return


def expire(settings: Settings) -> None:
    """Delete what retention lets go of, and what killed processes were about to store."""
    storage = get_storage()
    remove_orphans(scratch_root(settings.data_dir))
    remove_abandoned(storage.staging)
    expiry.expire_artifacts(storage, timedelta(days=settings.artifact_days))
    expiry.expire_models(storage, timedelta(days=settings.upload_days))

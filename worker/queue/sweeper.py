"""Set right what broken workers and lost messages leave behind: SQL is the truth, and this makes the rest follow it.

Any number of sweepers may run: each change is a conditional UPDATE, and a ring too many is refused by the lease.
"""

import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.models import Job
from app.db.session import now, transaction
from app.jobs.transitions import change
from app.queue.celery_client import backlog, ring
from app.settings import Settings, get_settings
from app.storage import get_storage
from app.storage.staging import remove_abandoned
from convpress.refusal import Code, Refusal
from worker.queue import registry, retention
from worker.queue.lease import BACK_IN_QUEUE
from worker.sandbox.scratch import remove_orphans, scratch_root

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
    """Take jobs from their workers where leases or the jobs' own time have run out; return those that wait again.

    No worker that lives lets it come so far, so a clock that jumped may be to blame: a job is lost at the last attempt
    only. A lease further ahead than any worker takes one was given before a clock went back.
    """
    at = now(session)
    lease, limit = (
        timedelta(seconds=settings.lease_seconds),
        timedelta(seconds=settings.job_timeout_seconds),
    )
    ended = or_(Job.lease_expires_at < at, Job.lease_expires_at > at + 2 * lease)
    overdue = Job.started_at < at - limit - lease
    last = Job.attempt >= settings.max_attempts
    for condition, error in (
        (overdue, timed_out(settings.job_timeout_seconds)),
        (ended, worker_lost(settings.max_attempts)),
    ):
        change(
            session,
            at,
            "failed",
            error["code"],
            Job.state == "running",
            condition,
            last,
            error=error,
        )
    waiting: list[uuid.UUID] = []
    for condition, reason in ((overdue, "overdue"), (ended, "the lease ran out")):
        returned = change(
            session, at, "queued", reason, Job.state == "running", condition, **BACK_IN_QUEUE
        )
        waiting += [job.id for job in returned]
    return waiting


def unheard(session: Session, backlog: int) -> list[uuid.UUID]:
    """Return the jobs whose messages are lost, oldest first.

    Where no message waits at the broker, that is each which has been queued for longer than a message is on its way.
    Where some do, it is each that was overtaken: one that came later is running.
    """
    moment = timedelta(seconds=_OLD_SECONDS)
    overtaken = (
        session.scalar(select(func.max(Job.created_at)).where(Job.state == "running"))
        if backlog
        else None
    )
    if backlog and overtaken is None:
        return []
    before = (overtaken or now(session)) - moment
    lost = (
        select(Job.id)
        .where(Job.state == "queued", Job.created_at < before)
        .order_by(Job.created_at)
    )
    return list(session.scalars(lost.limit(_MOST_RINGS)))


def run(stopping: threading.Event) -> None:
    """Sweep every few seconds until told to stop; what cannot be reached now is swept the next time."""
    settings = get_settings()
    orphans_due = time.monotonic()
    while not stopping.is_set():
        try:
            registry.show(settings.worker_concurrency)
            sweep_and_ring(settings)
            expire(settings)
            if time.monotonic() >= orphans_due:
                retention.remove_orphans(get_storage())
                orphans_due = time.monotonic() + _ORPHANS_SECONDS
        except (SQLAlchemyError, OSError) as error:
            log.warning("sweep put off", error=str(error))
        stopping.wait(settings.sweep_seconds)
    with suppress(SQLAlchemyError):  # it will be seen to be silent
        registry.leave()


def sweep_and_ring(settings: Settings) -> None:
    """Put jobs back, and ring for them and for those whose messages are lost."""
    with transaction() as session:
        waiting = sweep(session, settings)
    if waiting:
        log.warning("leases ran out", jobs=[str(job) for job in waiting])
    messages = backlog()
    if messages is None:
        return
    with transaction() as session:
        lost = unheard(session, messages)
    for job_id in dict.fromkeys(waiting + lost):
        if not ring(job_id):
            return


def expire(settings: Settings) -> None:
    """Delete what retention lets go of, and what killed processes were about to store."""
    storage = get_storage()
    remove_orphans(scratch_root(settings.data_dir))
    remove_abandoned(storage.staging)
    retention.expire_artifacts(storage, timedelta(days=settings.artifact_days))
    retention.expire_uploads(storage, timedelta(days=settings.upload_days))

"""The sweeper: it recovers jobs from dead workers and lost messages; SQL is the truth.

Any number of sweepers may run: each change is a conditional UPDATE, and the lease refuses a
superfluous message.
"""

import threading
import time
import uuid
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.models import Job
from app.db.session import now, transaction
from app.jobs.transitions import change
from app.queue.celery_client import backlog, enqueue
from app.settings import Settings, get_settings
from app.storage import get_storage
from app.storage.staging import remove_abandoned
from convpress.refusal import Code, Refusal
from worker.queue import registry, retention
from worker.queue.lease import BACK_IN_QUEUE
from worker.sandbox.scratch import remove_orphans, scratch_root

# No message takes longer than this from the API through the broker to a worker.
_MESSAGE_SECONDS = 3.0
# The most messages of one sweep; the next sweep sends more.
_MOST_RINGS = 1000
# Looking for orphans lists the whole store, which is slow and, in a bucket, costs money.
_ORPHANS_SECONDS = 3600.0

log = structlog.get_logger(__name__)


def worker_lost(attempts: int) -> dict[str, str]:
    """Return the error of a job whose workers or children died at every attempt."""
    detail = (
        f"no worker finished this job in {attempts} attempts: "
        "each time the process that worked on it died"
    )
    return Refusal(Code.WORKER_LOST, detail).as_dict()


def timed_out(seconds: float) -> dict[str, str]:
    """Return the error of a job that took too long."""
    detail = f"the job was not done after {seconds:g} seconds, the time limit of this service"
    return Refusal(Code.JOB_TIMEOUT, detail).as_dict()


def sweep(session: Session, settings: Settings) -> list[uuid.UUID]:
    """Take jobs whose lease or time limit has run out from their workers.

    Return those that are queued again.

    At the last attempt the job fails instead. A live worker renews its lease and respects the time
    limit, but a clock that jumped can make either look overdue, so that an earlier attempt is never
    the end of a job.
    """
    at = now(session)
    overdue = (Job.state == "running", _is_overdue(settings, at))
    abandoned = (Job.state == "running", _is_abandoned(settings, at))
    last = Job.attempt >= settings.max_attempts
    for condition, error in (
        (overdue, timed_out(settings.job_timeout_seconds)),
        (abandoned, worker_lost(settings.max_attempts)),
    ):
        change(session, at, "failed", error["code"], *condition, last, error=error)
    waiting: list[uuid.UUID] = []
    for condition, reason in (
        (overdue, "the time limit was exceeded"),
        (abandoned, "the lease ran out"),
    ):
        returned = change(session, at, "queued", reason, *condition, **BACK_IN_QUEUE)
        waiting += [job.id for job in returned]
    return waiting


def _is_overdue(settings: Settings, at: datetime) -> ColumnElement[bool]:
    """Return the condition that a job has run for a lease longer than the time limit."""
    limit = timedelta(seconds=settings.job_timeout_seconds + settings.lease_seconds)
    return Job.started_at < at - limit


def _is_abandoned(settings: Settings, at: datetime) -> ColumnElement[bool]:
    """Return the condition that a lease has run out.

    A lease far ahead, which no worker takes, was taken before the clock of the database went back.
    """
    lease = timedelta(seconds=settings.lease_seconds)
    return or_(Job.lease_expires_at < at, Job.lease_expires_at > at + 2 * lease)


def unheard(session: Session, backlog: int) -> list[uuid.UUID]:
    """Return the jobs whose messages are lost, oldest first, with `backlog` messages at the broker.

    Without a backlog, a message is lost if its job has been queued for longer than a message takes.
    With one, a message is lost if it was overtaken: a job that was created later is running.
    """
    newest = now(session)
    if backlog:
        overtaking = select(func.max(Job.created_at)).where(Job.state == "running")
        latest_running = session.scalar(overtaking)
        if latest_running is None:
            return []
        newest = latest_running
    before = newest - timedelta(seconds=_MESSAGE_SECONDS)
    lost = select(Job.id).where(Job.state == "queued", Job.created_at < before)
    return list(session.scalars(lost.order_by(Job.created_at).limit(_MOST_RINGS)))


def run(stopping: threading.Event) -> None:
    """Sweep every few seconds until `stopping` is set.

    After an error, try again at the next sweep.
    """
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
            log.warning("the sweep failed and will be tried again", error=str(error))
        stopping.wait(settings.sweep_seconds)
    # Without a database, the registry forgets this worker by its silence.
    with suppress(SQLAlchemyError):
        registry.leave()


def sweep_and_ring(settings: Settings) -> None:
    """Queue abandoned jobs again, and send messages for them and in the place of lost ones."""
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
        # The broker does not answer; the next sweep finds the jobs again.
        if not enqueue(job_id):
            return


def expire(settings: Settings) -> None:
    """Delete expired files, and the scratch and staged files of processes that were killed."""
    storage = get_storage()
    remove_orphans(scratch_root(settings.data_dir))
    remove_abandoned(storage.staging)
    retention.expire_artifacts(storage, timedelta(days=settings.artifact_days))
    retention.expire_uploads(storage, timedelta(days=settings.upload_days))

"""The sweeper: it recovers jobs from dead workers and lost messages; SQL is the truth.

Any number of sweepers may run: each change is a conditional UPDATE, and the lease refuses a
superfluous message.
"""

import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app import data_folder, loops
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
# A job whose worker died waits at most this long beyond its lease.
_LONGEST_PAUSE = 10.0

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
    With one, a message is lost if it was overtaken: a job that was created later is running. No
    more jobs are returned than messages are missing. Otherwise each sweep would add messages for
    jobs that only wait, until all jobs waited behind these messages.

    A job that was created in the future was accepted before the clock of the database went back.
    """
    at = now(session)
    travel = timedelta(seconds=_MESSAGE_SECONDS)
    is_lost = Job.created_at > at + travel
    newest: datetime | None = at
    most = _MOST_RINGS
    if backlog:
        queued = session.scalar(select(func.count()).where(Job.state == "queued")) or 0
        most = min(most, queued - backlog)
        if most <= 0:
            return []
        newest = session.scalar(
            select(func.max(Job.created_at)).where(Job.state == "running")
        )
    if newest is not None:
        is_lost = or_(is_lost, Job.created_at < newest - travel)
    lost = select(Job.id).where(Job.state == "queued", is_lost)
    return list(session.scalars(lost.order_by(Job.created_at).limit(most)))


def run(stopping: threading.Event) -> None:
    """Sweep every few seconds until `stopping` is set.

    A step that fails stops no other step, and is tried again at the next sweep.
    """
    settings = get_settings()
    backoff = loops.Backoff("sweeper", settings.sweep_seconds, _LONGEST_PAUSE)
    orphans_due = time.monotonic()
    while not stopping.is_set():
        # Leases come first: their jobs wait, and the rest does not.
        error = _failure_of(lambda: sweep_and_ring(settings))
        if error is None:
            # `/readyz` takes a worker that is not seen for one that returns no leases.
            error = _failure_of(lambda: registry.show(settings.worker_concurrency))
        _note("retention", _failure_of(lambda: expire(settings)))
        if time.monotonic() >= orphans_due:
            failure = _failure_of(lambda: _remove_orphans(settings))
            _note("orphans", failure)
            if failure is None:
                orphans_due = time.monotonic() + _ORPHANS_SECONDS
        _note("counters", _failure_of(loops.flush))
        stopping.wait(backoff.after(error))
    # Without a database, the registry forgets this worker by its silence.
    _note("registry", _failure_of(registry.leave))


def _failure_of(step: Callable[[], object]) -> Exception | None:
    """Run a step, and return its error; any exception would end the sweeper for good."""
    try:
        step()
    except Exception as error:
        return error
    return None


def _remove_orphans(settings: Settings) -> None:
    # A folder with other files than this process began with has no orphans of this service.
    data_folder.check(settings)
    retention.remove_orphans(get_storage())


def _note(loop: str, error: Exception | None) -> None:
    if error is not None:
        loops.note_failure(loop, error)


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
    data_folder.check(settings)
    storage = get_storage()
    remove_orphans(scratch_root(settings.data_dir))
    remove_abandoned(storage.staging)
    retention.expire_artifacts(storage, timedelta(days=settings.artifact_days))
    retention.expire_uploads(storage, timedelta(days=settings.upload_days))

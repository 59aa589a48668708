"""The Celery task: claim one job, run it, and commit its outcome."""

import logging
import time
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import structlog
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from app import tracing
from app.db.models import Job
from app.db.session import transaction
from app.jobs import logs
from app.queue.celery_client import TASK, enqueue
from app.settings import Settings, get_settings
from worker.celery_app import celery, stopping
from worker.jobs import outcomes, run
from worker.jobs.outcomes import JobOutcome
from worker.queue import lease as leases
from worker.queue.heartbeat import Heartbeat, Lap
from worker.queue.lease import AdviceResult, Lease, Result
from worker.sandbox.spare import spares

_RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Ending(NamedTuple):
    """How an attempt ended: its outcome, the seconds of each phase, and the child's own lines."""

    outcome: JobOutcome
    seconds: Mapping[str, float]
    log: str


@celery.task(name=TASK)  # type: ignore[untyped-decorator]  # Celery ships no types
def compress(job_id: str) -> None:
    """Make one attempt at a job, unless it is not queued any more.

    It is safe to call it any number of times.
    """
    # A worker that shuts down accepts no job; the message comes back to another one.
    if stopping.is_set():
        return
    with bound_contextvars(job_id=job_id):
        _attempt(uuid.UUID(job_id), get_settings())
    if not stopping.is_set():
        spares.refill()


def _attempt(job_id: uuid.UUID, settings: Settings) -> None:
    claim = _claim(job_id, settings)
    if claim is None:
        log.info("nothing to claim")
        return
    job, lease = claim
    attributes: dict[str, str | int] = {
        "convpress.job_id": str(job_id),
        "convpress.attempt": lease.attempt,
    }
    with (
        bound_contextvars(request_id=job.request_id, attempt=lease.attempt),
        tracing.span(
            "job", kind="consumer", parent=job.traceparent, attributes=attributes
        ),
    ):
        log.info("claimed")
        tracing.record(
            "queue", job.created_at.timestamp(), time.time(), parent=job.traceparent
        )
        heartbeat = Heartbeat(lease, settings.lease_seconds)
        child_logs: list[str] = []
        with heartbeat.beating():
            outcome = run.run_job(
                job,
                settings,
                heartbeat.report,
                lambda: heartbeat.held and not stopping.is_set(),
                child_logs.append,
            )
        laps = heartbeat.laps()
        _trace(laps)
        if not heartbeat.held:
            log.warning("lease lost")
            return
        seconds = {phase: lap.seconds for phase, lap in laps.items()}
        _end(lease, Ending(outcome, seconds, "".join(child_logs)), settings)


def _claim(job_id: uuid.UUID, settings: Settings) -> tuple[Job, Lease] | None:
    with transaction() as session:
        lease = leases.claim(
            session, job_id, leases.new_owner(), settings.lease_seconds
        )
        if lease is None:
            return None
        return session.get_one(Job, lease.job_id), lease


def _trace(laps: Mapping[str, Lap]) -> None:
    """Record a span for each phase.

    Laps are measured by the monotonic clock, spans by the time of day.
    """
    offset = time.time() - time.monotonic()
    for phase, lap in laps.items():
        tracing.record(phase, offset + lap.began, offset + lap.ended)


def _end(lease: Lease, ending: Ending, settings: Settings) -> None:
    """Commit the outcome and log it. Wake workers if the job runs again at once."""
    outcome = ending.outcome
    held = _commit_with_retries(lease, ending, settings)
    _log(outcome, held=held)
    # A worker that shuts down would take the message itself; the sweeper sends one later.
    if not held or stopping.is_set():
        return
    if outcomes.is_retried_at_once(outcome, lease.attempt, settings.max_attempts):
        enqueue(lease.job_id)


def _commit_with_retries(lease: Lease, ending: Ending, settings: Settings) -> bool:
    """Commit the outcome, and return whether the lease was still held.

    While the database is unavailable, try again until the lease has run out: then another worker
    does the job.
    """
    deadline = time.monotonic() + settings.lease_seconds
    while True:
        try:
            return _commit(lease, ending, settings.max_attempts)
        except DBAPIError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the outcome of the job is not committed yet", error=str(error))
            time.sleep(_RETRY_SECONDS)


def _commit(lease: Lease, ending: Ending, max_attempts: int) -> bool:
    with transaction() as session:
        held = outcomes.commit(
            session, lease, ending.outcome, ending.seconds, max_attempts
        )
        if held:
            logs.keep(session, lease.job_id, lease.attempt, ending.log)
        return held


def _log(outcome: JobOutcome, *, held: bool) -> None:
    """Log what the child wrote to standard error, line by line, and then the outcome."""
    members = dict(vars(outcome))
    for line in members.pop("log", "").splitlines():
        log.warning("the child wrote", line=logs.printable(line))
    event = "ended" if held else "lease lost at the end"
    is_success = isinstance(outcome, Result | AdviceResult)
    level = logging.INFO if is_success else logging.WARNING
    log.log(level, event, outcome=type(outcome).__name__, **members)

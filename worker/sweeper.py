"""Set right what broken workers and lost messages leave behind: SQL is the truth, and this makes the rest follow it.

Any number of sweepers may run: each change is a conditional UPDATE, and a ring too many is refused by the lease.
"""

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import transaction
from app.models import Job
from app.queue import ring
from app.settings import Settings, get_settings
from contract.refusal import Code, Refusal
from worker.lease import BACK_IN_QUEUE, FREE
from worker.scratch import remove_orphans, scratch_root

_OLD_SECONDS = 3.0
"""Longer than any message is on its way."""
_MOST_RINGS = 1000

log = structlog.get_logger(__name__)


def worker_lost(attempts: int) -> dict[str, str]:
    """Say why a job failed that no worker survived."""
    detail = f"no worker brought this job to an end in {attempts} attempts: each time the process working on it died"
    return Refusal(Code.WORKER_LOST, detail).as_dict()


def sweep(session: Session, max_attempts: int) -> list[uuid.UUID]:
    """Take the jobs whose leases have run out from their workers; return those that wait again."""
    now = datetime.now(UTC)
    expired = (Job.state == "running", Job.lease_expires_at < now)
    session.execute(
        update(Job)
        .where(*expired, Job.attempt >= max_attempts)
        .values(**FREE, state="failed", finished_at=now, error=worker_lost(max_attempts))
        .execution_options(synchronize_session=False)
    )
    returned = session.scalars(
        update(Job)
        .where(*expired)
        .values(**BACK_IN_QUEUE)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return list(returned)


def unheard(session: Session) -> list[uuid.UUID]:
    """Return the jobs that have been queued for longer than a message is on its way, oldest first.

    Their messages are lost if a worker is idle; if none is, they are just waiting.
    """
    old = datetime.now(UTC) - timedelta(seconds=_OLD_SECONDS)
    waiting = select(Job.id).where(Job.state == "queued", Job.created_at < old).order_by(Job.created_at)
    return list(session.scalars(waiting.limit(_MOST_RINGS)))


def run(stopping: threading.Event, idle: Callable[[], bool]) -> None:
    """Sweep every few seconds until told to stop; a database that cannot be reached now is swept the next time."""
    settings = get_settings()
    while not stopping.is_set():
        try:
            sweep_and_ring(settings, idle)
        except (SQLAlchemyError, OSError) as error:
            log.warning("sweep put off", error=str(error))
        stopping.wait(settings.sweep_seconds)


def sweep_and_ring(settings: Settings, idle: Callable[[], bool]) -> None:
    """Do one round; `idle` tells whether this worker has nothing to do, which proves that no message waits."""
    remove_orphans(scratch_root(settings.data_dir))
    with transaction() as session:
        waiting = sweep(session, settings.max_attempts)
    if waiting:
        log.warning("leases ran out", jobs=[str(job) for job in waiting])
    if idle():
        with transaction() as session:
            waiting = unheard(session)
    for job_id in waiting:
        if not ring(job_id):
            return

"""What can be done to a job, and its queries: plain functions over one session."""

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.orm import Session

from app.changes import Changed, change, record
from app.db import now
from app.errors import Problem
from app.inserts import insert
from app.models import TERMINAL, Job, Model
from app.storage import Storage
from app.uploads import Upload


def create(session: Session, storage: Storage, upload: Upload) -> Job:
    """Store an upload under its key and add a queued job for it; the model's row is shared by all its jobs.

    The row stays locked until the caller commits, so that nobody deletes the file before the job is seen to need it.
    """
    at = now(session)
    row = {"sha256": upload.sha256, "format": upload.format, "bytes": upload.bytes, "created_at": at, "used_at": at}
    again = {"used_at": at, "expired_at": None}
    session.execute(insert(session, Model).values(row).on_conflict_do_update(index_elements=["sha256"], set_=again))
    storage.keep(upload.staged, upload.key)
    job = Job(
        model=session.get_one(Model, upload.sha256),
        created_at=at,
        filename=upload.filename,
        flops_budget=upload.flops_budget,
        input_shape=upload.input_shape,
    )
    session.add(job)
    session.flush()
    record(session, at, "queued", "accepted", [Changed(job.id, 0, job.webhook_url, None)])
    return job


def get(session: Session, job_id: str) -> Job:
    """Return a job.

    Raises:
        Problem: `job_not_found`, also for what is no job id at all.
    """
    try:
        job = session.get(Job, uuid.UUID(job_id))
    except ValueError:
        job = None
    if job is None:
        raise Problem("job_not_found", f"there is no job {job_id[:80]!r}", field="job_id", got=job_id[:80])
    return job


def get_succeeded(session: Session, job_id: str) -> Job:
    """Return a job whose artifact and report are stored.

    Raises:
        Problem: `job_not_found`, `job_unfinished` or `job_failed`.
    """
    job = get(session, job_id)
    if job.state not in TERMINAL:
        raise Problem(
            "job_unfinished",
            f"the job is still {job.state}",
            expected="succeeded",
            got=job.state,
            headers={"Retry-After": "1"},
        )
    if job.state != "succeeded":
        reason = job.error["detail"] if job.error else "it was stopped"
        raise Problem("job_failed", f"the job has {job.state}: {reason}", expected="succeeded", got=job.state)
    return job


def cancel(session: Session, job_id: str) -> Job:
    """End a job where it stands; its worker loses the lease and stops. Cancelling twice is cancelling.

    Raises:
        Problem: `job_not_found`, or `job_finished` where it had ended otherwise.
    """
    job = get(session, job_id)
    change(session, now(session), "cancelled", "on request", Job.id == job.id, Job.state.not_in(TERMINAL))
    session.refresh(job)
    if job.state != "cancelled":
        raise Problem("job_finished", f"the job has {job.state}", expected="queued or running", got=job.state)
    return job


def forget(session: Session, job_id: str) -> Job:
    """Delete the row of a job that has ended, and all that hangs on it; its files are the caller's to delete.

    Raises:
        Problem: `job_not_found` or `job_unfinished`.
    """
    job = get(session, job_id)
    gone = delete(Job).where(Job.id == job.id, Job.state.in_(TERMINAL)).returning(Job.id)
    if session.scalar(gone.execution_options(synchronize_session=False)) is None:
        raise Problem(
            "job_unfinished", f"the job is still {job.state}; cancel it first", expected="a job that has ended"
        )
    session.expunge(job)
    return job


def page(session: Session, limit: int, cursor: str | None) -> tuple[Sequence[Job], str | None]:
    """Return up to `limit` jobs, newest first, and the cursor of the next page if there is one.

    Raises:
        Problem: `cursor_invalid`.
    """
    query = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*_read_cursor(cursor)))
    found = session.scalars(query).all()
    return found[:limit], _write_cursor(found[limit - 1]) if len(found) > limit else None


def _write_cursor(job: Job) -> str:
    """Name the place behind a job; opaque to clients."""
    return base64.urlsafe_b64encode(f"{job.created_at.isoformat()} {job.id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        created_at, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at).astimezone(UTC), uuid.UUID(job_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise Problem(
            "cursor_invalid",
            "the cursor is not one that this service gave",
            field="cursor",
            expected="next_cursor of the page before",
            got=cursor[:80],
        ) from error

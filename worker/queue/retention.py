"""Retention: what has been kept for long enough goes, and so does what no row knows.

SQL changes first and files follow, so a sweeper that dies in between leaves an orphan, which the next one finds.
"""

import uuid
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy import exists, select, update

from app.db.models import Job, Model
from app.db.session import now, transaction
from app.storage import Storage, artifact_key
from app.uploads.retention import MODELS, SAMPLES, delete_analyses, delete_artifacts, release
from convpress.states import TERMINAL

_BATCH = 100

log = structlog.get_logger(__name__)


def expire_artifacts(storage: Storage, age: timedelta) -> None:
    """Delete what jobs have made that ended longer ago than `age`; the jobs themselves stay."""
    with transaction() as session:
        at = now(session)
        old = (Job.expired_at.is_(None), Job.finished_at < at - age)
        batch = select(Job.id).where(*old).limit(_BATCH).scalar_subquery()
        expired = update(Job).where(Job.id.in_(batch), *old).values(expired_at=at).returning(Job.id)
        jobs = session.scalars(expired.execution_options(synchronize_session=False)).all()
    for job_id in jobs:
        delete_artifacts(storage, job_id)


def expire_uploads(storage: Storage, age: timedelta) -> None:
    """Delete models and samples that no unfinished job needs and no job was posted for within `age`."""
    for kept in (MODELS, SAMPLES):
        table = kept.table
        unfinished = exists().where(kept.needed_by == table.sha256, Job.state.not_in(TERMINAL))
        with transaction() as session:
            cutoff = now(session) - age
            old = select(table.sha256).where(
                table.expired_at.is_(None), table.used_at < cutoff, ~unfinished
            )
            uploads = session.scalars(old.limit(_BATCH)).all()
        for sha256 in uploads:
            with transaction() as session:
                release(session, storage, kept, sha256, cutoff)


def remove_orphans(storage: Storage) -> int:
    """Delete the files of the store that no row knows, and return how many there were.

    A running job may be storing files right now; those of an ended one, or of none, belong to nobody.
    """
    removed = 0
    for job_id, keys in groupby(storage.keys("artifacts/"), key=lambda key: key.split("/")[1]):
        kept = _kept(job_id)
        for key in keys:
            if kept is not None and key not in kept:
                storage.delete(key)
                removed += 1
    for sha256 in {key.split("/")[1] for key in storage.keys("analyses/")}:
        with transaction() as session:
            kept_model = session.scalar(
                select(exists().where(Model.sha256 == sha256, Model.expired_at.is_(None)))
            )
        if not kept_model:
            delete_analyses(storage, sha256)
            removed += 1
    for upload in (MODELS, SAMPLES):
        table, folder = upload.table, upload.key("")
        for key in storage.keys(folder):
            sha256 = key.removeprefix(folder)
            with transaction() as session:
                if session.scalar(
                    select(exists().where(table.sha256 == sha256, table.expired_at.is_(None)))
                ):
                    continue
                removed += release(session, storage, upload, sha256, now(session))
    if removed:
        log.warning("orphaned files removed", files=removed)
    return removed


def _kept(job_id: str) -> set[str] | None:
    """Return the keys that a job's row knows, or None where the job has not ended or the name is none of ours."""
    try:
        identity = uuid.UUID(job_id)
    except ValueError:
        return None
    with transaction() as session:
        job = session.get(Job, identity)
        if job is None or job.expired_at is not None:
            return set()
        if job.state not in TERMINAL:
            return None
        return {
            artifact_key(job.id, sha256)
            for sha256 in (job.artifact_sha256, job.report_sha256)
            if sha256
        }

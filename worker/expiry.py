"""Retention: what has been kept for long enough goes, and so does what no row knows.

SQL changes first and files follow, so a sweeper that dies in between leaves an orphan, which the next one finds.
"""

import uuid
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy import exists, select, update

from app.db import now, transaction
from app.models import TERMINAL, Job, Model
from app.retention import delete_artifacts, release_model
from app.storage import Storage, artifact_key

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


def expire_models(storage: Storage, age: timedelta) -> None:
    """Delete uploads that no unfinished job needs and no job was posted for within `age`."""
    unfinished = exists().where(Job.model_sha256 == Model.sha256, Job.state.not_in(TERMINAL))
    with transaction() as session:
        cutoff = now(session) - age
        old = select(Model.sha256).where(Model.expired_at.is_(None), Model.used_at < cutoff, ~unfinished)
        models = session.scalars(old.limit(_BATCH)).all()
    for sha256 in models:
        with transaction() as session:
            release_model(session, storage, sha256, cutoff)


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
    for key in storage.keys("models/"):
        sha256 = key.removeprefix("models/")
        with transaction() as session:
            if session.scalar(select(exists().where(Model.sha256 == sha256, Model.expired_at.is_(None)))):
                continue
            removed += release_model(session, storage, sha256, now(session))
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
        return {artifact_key(job.id, sha256) for sha256 in (job.artifact_sha256, job.report_sha256) if sha256}

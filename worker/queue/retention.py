"""Retention: delete the files that are old enough, and files that SQL does not know.

SQL changes first and files follow: a sweeper that dies in between leaves an orphan, which the next
one deletes.
"""

import uuid
from datetime import timedelta
from itertools import groupby

import structlog
from sqlalchemy import exists, select, update

from app.db.models import Job, Model
from app.db.session import now, transaction
from app.storage import Storage, artifact_key
from app.uploads.retention import (
    UPLOADS,
    UploadKind,
    delete_analyses,
    delete_artifacts,
    release,
)
from convpress.states import TERMINAL

# One sweep deletes this much at most, so that the next steps of the sweep are not delayed for long.
_BATCH = 100

log = structlog.get_logger(__name__)


def expire_artifacts(storage: Storage, age: timedelta) -> None:
    """Delete the results of jobs that ended longer ago than `age`; the jobs themselves stay."""
    with transaction() as session:
        at = now(session)
        old = (Job.expired_at.is_(None), Job.finished_at < at - age)
        batch = select(Job.id).where(*old).limit(_BATCH).scalar_subquery()
        expired = (
            update(Job)
            .where(Job.id.in_(batch), *old)
            .values(expired_at=at)
            .returning(Job.id)
        )
        jobs = session.scalars(
            expired.execution_options(synchronize_session=False)
        ).all()
    for job_id in jobs:
        delete_artifacts(storage, job_id)


def expire_uploads(storage: Storage, age: timedelta) -> None:
    """Delete uploads that no unfinished job needs and no job used within `age`."""
    for kind in UPLOADS:
        table = kind.table
        unfinished = exists().where(
            kind.needed_by == table.sha256, Job.state.not_in(TERMINAL)
        )
        with transaction() as session:
            cutoff = now(session) - age
            old = select(table.sha256).where(
                table.expired_at.is_(None), table.used_at < cutoff, ~unfinished
            )
            uploads = session.scalars(old.limit(_BATCH)).all()
        for sha256 in uploads:
            # A transaction for each, so that its row is locked only while its file is deleted.
            with transaction() as session:
                release(session, storage, kind, sha256, cutoff)


def remove_orphans(storage: Storage) -> int:
    """Delete the files of the store that no row refers to, and return their number.

    A running job may be storing files right now, so that only files of other jobs count as orphans.
    """
    removed = _remove_artifacts(storage) + _remove_analyses(storage)
    for kind in UPLOADS:
        removed += _remove_uploads(storage, kind)
    if removed:
        log.warning("orphaned files removed", files=removed)
    return removed


def _remove_artifacts(storage: Storage) -> int:
    removed = 0
    for job_id, keys in groupby(
        storage.keys("artifacts/"), key=lambda key: key.split("/")[1]
    ):
        known = _known_keys(job_id)
        if known is None:
            continue
        for key in keys:
            if key not in known:
                storage.delete(key)
                removed += 1
    return removed


def _remove_analyses(storage: Storage) -> int:
    keys = list(storage.keys("analyses/"))
    # Of versions whose analyses had no owner: nobody reads them.
    ownerless = [key for key in keys if "-" not in key]
    for key in ownerless:
        storage.delete(key)
    removed = len(ownerless)
    for sha256 in {key.split("/")[1] for key in keys}:
        stored = exists().where(Model.sha256 == sha256, Model.expired_at.is_(None))
        with transaction() as session:
            is_stored = session.scalar(select(stored))
        if not is_stored:
            delete_analyses(storage, sha256)
            removed += 1
    return removed


def _remove_uploads(storage: Storage, kind: UploadKind) -> int:
    removed = 0
    folder = kind.key("")
    for key in storage.keys(folder):
        sha256 = key.removeprefix(folder)
        stored = exists().where(
            kind.table.sha256 == sha256, kind.table.expired_at.is_(None)
        )
        with transaction() as session:
            if not session.scalar(select(stored)):
                removed += release(session, storage, kind, sha256, now(session))
    return removed


def _known_keys(job_id: str) -> set[str] | None:
    """Return the keys that the row of a job refers to.

    Return None for an unfinished job, and for a name that is not a job's.
    """
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
        files = (job.artifact_sha256, job.report_sha256)
        return {artifact_key(job.id, sha256) for sha256 in files if sha256}

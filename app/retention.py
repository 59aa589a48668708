"""Delete files that nobody needs any more; SQL decides, and a lock there keeps out whoever would need them now."""

import uuid
from datetime import UTC, datetime

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.inserts import insert
from app.models import TERMINAL, Job, Model
from app.storage import Storage, model_key

_NEVER = datetime.fromtimestamp(0, UTC)


def delete_artifacts(storage: Storage, job_id: uuid.UUID) -> None:
    """Delete all that a job has made; call it when SQL says that these files are not there any more."""
    for key in list(storage.keys(f"artifacts/{job_id}/")):
        storage.delete(key)


def release_model(session: Session, storage: Storage, sha256: str, unused_since: datetime | None) -> bool:
    """Delete a model's file, and return whether that was done.

    It stays if an unfinished job needs it or a job was posted for it after `unused_since`; if that is None, as long as
    any job is known. Its row, made for the occasion where a file has none, is locked until the caller's transaction
    ends, so that an upload of the same model waits and then stores it anew. Without any job the row goes as well.
    """
    row = {"sha256": sha256, "format": "", "bytes": 0, "created_at": _NEVER, "used_at": _NEVER}
    locked = (
        insert(session, Model).values(row).on_conflict_do_update(index_elements=["sha256"], set_={"sha256": sha256})
    )
    used_at = session.scalar(locked.returning(Model.used_at))
    needing = [] if unused_since is None else [Job.state.not_in(TERMINAL)]
    needed = session.scalar(select(exists().where(Job.model_sha256 == sha256, *needing)))
    if used_at is None or needed or (unused_since and used_at > unused_since):
        return False
    storage.delete(model_key(sha256))
    without_job = delete(Model).where(Model.sha256 == sha256, ~exists().where(Job.model_sha256 == sha256))
    session.execute(without_job.execution_options(synchronize_session=False))
    expired = update(Model).where(Model.sha256 == sha256).values(expired_at=now(session))
    session.execute(expired.execution_options(synchronize_session=False))
    return True

"""Delete files that nobody needs any more; SQL decides, and a lock there keeps out whoever would need them now."""

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.models import Job, Model, Samples
from app.db.session import now
from app.db.upsert import insert
from app.identity import all_owners
from app.storage import Storage, analysis_key, model_key, samples_key
from convpress.states import TERMINAL

_NEVER = datetime.fromtimestamp(0, UTC)


def delete_artifacts(storage: Storage, job_id: uuid.UUID) -> None:
    """Delete all that a job has made; call it when SQL says that these files are not there any more."""
    for key in list(storage.keys(f"artifacts/{job_id}/")):
        storage.delete(key)


def delete_analyses(storage: Storage, model_sha256: str) -> None:
    """Delete what is kept of a model's analyses; it can be had again."""
    for key in list(storage.keys(analysis_key(model_sha256, ""))):
        storage.delete(key)


class Kept(NamedTuple):
    """A kind of upload: its table, the column by which jobs need it, its key, and what a row made up for it says."""

    table: type[Model] | type[Samples]
    needed_by: InstrumentedAttribute[Any]
    key: Callable[[str], str]
    made_up: Mapping[str, str] = {}


MODELS = Kept(Model, Job.model_sha256, model_key, {"format": ""})
SAMPLES = Kept(Samples, Job.samples_sha256, samples_key)


@all_owners()
def release(
    session: Session, storage: Storage, kept: Kept, sha256: str, unused_since: datetime | None
) -> bool:
    """Delete an upload's file, and return whether that was done.

    It stays if an unfinished job, of any owner, needs it or one was posted for it after `unused_since`; if that is
    None, as long as any job is known. Its row, made for the occasion where a file has none, is locked until the
    caller's transaction ends, so that an upload of the same bytes waits and then stores them anew. Without any job the
    row goes as well.
    """
    table = kept.table
    row = {"sha256": sha256, "bytes": 0, "created_at": _NEVER, "used_at": _NEVER, **kept.made_up}
    locked = (
        insert(session, table)
        .values(row)
        .on_conflict_do_update(index_elements=["sha256"], set_={"sha256": sha256})
    )
    used_at = session.scalar(locked.returning(table.used_at))
    needing = [] if unused_since is None else [Job.state.not_in(TERMINAL)]
    needed = session.scalar(select(exists().where(kept.needed_by == sha256, *needing)))
    if used_at is None or needed or (unused_since and used_at > unused_since):
        return False
    storage.delete(kept.key(sha256))
    if table is Model:
        delete_analyses(storage, sha256)
        session.execute(update(Model).where(Model.sha256 == sha256).values(analysis_bytes=0))
    without_job = delete(table).where(
        table.sha256 == sha256, ~exists().where(kept.needed_by == sha256)
    )
    session.execute(without_job.execution_options(synchronize_session=False))
    expired = update(table).where(table.sha256 == sha256).values(expired_at=now(session))
    session.execute(expired.execution_options(synchronize_session=False))
    return True

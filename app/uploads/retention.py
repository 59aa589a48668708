"""The deletion of files that no job needs.

SQL decides, and a row lock keeps out a job that would need the file.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.models import Evaluation, Job, Model, Samples
from app.db.session import now
from app.db.upsert import insert
from app.identity import all_owners
from app.jobs.owned_models import forget_analyses
from app.storage import (
    Storage,
    analyses_folder,
    analysis_owner_is,
    evaluation_key,
    model_key,
    samples_key,
)
from convpress.states import TERMINAL

_NEVER = datetime.fromtimestamp(0, UTC)


def delete_artifacts(storage: Storage, job_id: uuid.UUID) -> None:
    """Delete the files of a job's results; call it after SQL says that they are gone."""
    for key in list(storage.keys(f"artifacts/{job_id}/")):
        storage.delete(key)


def delete_analyses(
    storage: Storage, model_sha256: str, owner: str | None = None
) -> None:
    """Delete the analyses of a model, of one owner or all; a later job makes them again."""
    for key in list(storage.keys(analyses_folder(model_sha256))):
        if owner is None or analysis_owner_is(key, owner):
            storage.delete(key)


@dataclass(frozen=True)
class UploadKind:
    """A kind of upload: its table, the column of jobs that refers to it, and its storage key.

    `defaults` are the columns of a row that is made for an upload whose file is unknown to SQL.
    """

    table: type[Model] | type[Samples] | type[Evaluation]
    needed_by: InstrumentedAttribute[Any]
    key: Callable[[str], str]
    defaults: Mapping[str, str] = field(default_factory=dict)


MODELS = UploadKind(Model, Job.model_sha256, model_key, {"format": ""})
SAMPLES = UploadKind(Samples, Job.samples_sha256, samples_key)
EVALUATIONS = UploadKind(Evaluation, Job.evaluation_sha256, evaluation_key)
UPLOADS = (MODELS, SAMPLES, EVALUATIONS)


@all_owners()
def release(
    session: Session,
    storage: Storage,
    kind: UploadKind,
    sha256: str,
    unused_since: datetime | None,
) -> bool:
    """Delete the file of an upload that no job needs, and return whether it was deleted.

    The file stays while an unfinished job of any owner needs it, or if a job was posted for it
    after `unused_since`; where that is None, it stays while any job refers to it. The row of the
    upload is locked until the caller's transaction ends, so that an upload of the same bytes waits
    and then stores them again; a file without a row gets one for that purpose. The row is deleted
    as well if no job refers to it.
    """
    used_at = _lock_row(session, kind, sha256)
    if used_at is None or _is_needed(
        session, kind, sha256, unfinished=unused_since is not None
    ):
        return False
    if unused_since and used_at > unused_since:
        return False
    storage.delete(kind.key(sha256))
    if kind.table is Model:
        delete_analyses(storage, sha256)
        forget_analyses(session, sha256)
    _expire_row(session, kind, sha256)
    return True


def _lock_row(session: Session, kind: UploadKind, sha256: str) -> datetime | None:
    """Lock the row of an upload, or insert one, and return the time of its last use."""
    new = {
        "sha256": sha256,
        "bytes": 0,
        "created_at": _NEVER,
        "used_at": _NEVER,
        **kind.defaults,
    }
    locked = insert(session, kind.table).values(new)
    # An update that changes nothing: it locks the row, which "do nothing" would not.
    locked = locked.on_conflict_do_update(
        index_elements=["sha256"], set_={"sha256": sha256}
    )
    used_at: datetime | None = session.scalar(locked.returning(kind.table.used_at))
    return used_at


def _is_needed(
    session: Session, kind: UploadKind, sha256: str, *, unfinished: bool
) -> bool:
    """Tell whether a job refers to an upload; only unfinished jobs count if `unfinished`."""
    needing = exists().where(kind.needed_by == sha256)
    if unfinished:
        needing = needing.where(Job.state.not_in(TERMINAL))
    return bool(session.scalar(select(needing)))


def _expire_row(session: Session, kind: UploadKind, sha256: str) -> None:
    """Delete the row of an upload if no job refers to it, or else note that its file is gone."""
    table = kind.table
    unused = delete(table).where(
        table.sha256 == sha256, ~exists().where(kind.needed_by == sha256)
    )
    session.execute(unused.execution_options(synchronize_session=False))
    expired = (
        update(table).where(table.sha256 == sha256).values(expired_at=now(session))
    )
    session.execute(expired.execution_options(synchronize_session=False))

"""An owner's quota of unfinished jobs and stored bytes, as a route dependency."""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from starlette.requests import Request

from app.auth.keys import Caller
from app.auth.scopes import caller_of
from app.db.models import Job, OwnedModel
from app.db.session import transaction
from app.errors import Problem
from app.settings import Settings, get_settings
from app.uploads.retention import UPLOADS
from convpress.states import TERMINAL

# Jobs take seconds to minutes: an earlier retry would mostly meet the same quota.
_RETRY_SECONDS = "30"


def check_quota(request: Request) -> None:
    """Refuse a new job beyond its owner's quota; the announced size of the body counts as stored.

    Raises:
        Problem: `quota_exceeded`.
    """
    caller = caller_of(request)
    if caller is None:
        return
    # The body is not read yet, so its announced size has to do.
    announced = int(request.headers.get("content-length", 0) or 0)
    settings = get_settings()
    check_unfinished(caller, 1)
    with transaction() as session:
        _check_stored(session, caller.owner, announced, settings)


def check_unfinished(caller: Caller | None, more: int) -> None:
    """Refuse `more` new jobs beyond their owner's quota of unfinished ones.

    Raises:
        Problem: `quota_exceeded`.
    """
    if caller is None:
        return
    unfinished_jobs = (
        select(func.count())
        .select_from(Job)
        .where(Job.owner == caller.owner, Job.state.not_in(TERMINAL))
    )
    with transaction() as session:
        unfinished = session.scalar(unfinished_jobs) or 0
    most = get_settings().owner_unfinished_jobs
    if unfinished + more > most:
        detail = f"{unfinished} jobs are unfinished"
        if more > 1:
            detail += f", and {more} more were posted"
        raise _exceeded(detail, f"at most {most} at a time")


def _check_stored(
    session: Session, owner: str, announced: int, settings: Settings
) -> None:
    stored = _stored_bytes(session, owner)
    if stored + announced > settings.owner_stored_bytes:
        raise _exceeded(
            f"{stored} bytes are stored",
            f"at most {settings.owner_stored_bytes} bytes",
        )


def _stored_bytes(session: Session, owner: str) -> int:
    """Return the bytes of an owner's uploads, analyses and artifacts.

    A model that several owners posted counts in full for each of them.
    """
    is_own = Job.owner == owner
    own_models = select(Job.model_sha256).where(is_own)
    own_analyses = (OwnedModel.owner == owner) & OwnedModel.model_sha256.in_(own_models)
    total = _sum(session, Job.artifact_bytes, is_own)
    total += _sum(session, OwnedModel.analysis_bytes, own_analyses)
    for kept in UPLOADS:
        needed = select(kept.needed_by).where(is_own)
        total += _sum(session, kept.table.bytes, kept.table.sha256.in_(needed))
    return total


def _sum(
    session: Session,
    column: InstrumentedAttribute[int] | InstrumentedAttribute[int | None],
    condition: ColumnElement[bool],
) -> int:
    return session.scalar(select(func.sum(column)).where(condition)) or 0


def _exceeded(detail: str, expected: str) -> Problem:
    headers = {"Retry-After": _RETRY_SECONDS}
    return Problem("quota_exceeded", detail, expected=expected, headers=headers)

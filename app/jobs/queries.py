"""Lists of jobs: filters, pages in the order of creation, and counts by state."""

import base64
import binascii
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.db.models import Job, JobLabel
from app.errors import Problem
from app.identity import all_owners
from convpress.labels import parse_labels
from convpress.options import Kind
from convpress.refusal import Refusal
from convpress.states import State


@dataclass(frozen=True)
class Filter:
    """The jobs of a list: of a kind, in one of the states, of the model, with all labels, in time.

    `search` is a part of the file name, the beginning of the model's SHA-256, a job's id, or labels
    as `name=value`.
    """

    states: Sequence[State] = ()
    model_sha256: str | None = None
    kind: Kind | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_from: datetime | None = None
    created_before: datetime | None = None
    search: str = ""


def count(session: Session, which: Filter) -> dict[State, int]:
    """Return the number of jobs in each state; the states of the filter do not count."""
    query, _ = _select(replace(which, states=()), Job.state, func.count())
    rows = session.execute(query.group_by(Job.state))
    counts: dict[State, int] = dict.fromkeys(get_args(State), 0)
    counts.update((state, number) for state, number in rows)
    return counts


def waiting_before(session: Session, job: Job) -> int:
    """Return the number of queued jobs, of all owners, that were created before this job."""
    before = tuple_(Job.created_at, Job.id) < tuple_(
        literal(job.created_at), literal(job.id)
    )
    query = select(func.count()).select_from(Job).where(Job.state == "queued", before)
    with all_owners():
        return session.scalar(query) or 0


def page(
    session: Session, which: Filter, limit: int, cursor: str | None
) -> tuple[Sequence[Job], str | None]:
    """Return up to `limit` jobs, newest first, and the cursor of the next page if there is one.

    Raises:
        Problem: `cursor_invalid`.
    """
    query, position = _select(which, Job)
    if cursor is not None:
        query = query.where(tuple_(*position) < tuple_(*_read_cursor(cursor)))
    query = query.order_by(*(column.desc() for column in position))
    # One more than the page has, to know whether there is a next page.
    jobs = session.scalars(query.limit(limit + 1)).all()
    if len(jobs) <= limit:
        return jobs, None
    return jobs[:limit], _write_cursor(jobs[limit - 1])


def _select(which: Filter, *columns: Any) -> tuple[Select[Any], tuple[Any, Any]]:  # noqa: ANN401 - SQLAlchemy's own
    """Return a query of the jobs, and the columns that order them: time of creation and id.

    With labels these are the columns of the last label, whose index has its jobs in their order,
    however rare it is.
    """
    query = select(*columns).select_from(Job)
    position: tuple[Any, Any] = (Job.created_at, Job.id)
    for name, value in which.labels.items():
        label = aliased(JobLabel)
        has_label = and_(
            label.job_id == Job.id, label.name == name, label.value == value
        )
        query = query.join(label, has_label)
        position = (label.created_at, label.job_id)
    created_at = position[0]
    if which.states:
        query = query.where(Job.state.in_(which.states))
    if which.model_sha256 is not None:
        query = query.where(Job.model_sha256 == which.model_sha256)
    if which.kind is not None:
        query = query.where(Job.kind == which.kind)
    if which.created_from is not None:
        query = query.where(created_at >= which.created_from)
    if which.created_before is not None:
        query = query.where(created_at < which.created_before)
    if which.search:
        query = query.where(or_(*_matches(which.search)))
    return query, position


def select_jobs(which: Filter, *columns: Any) -> Select[Any]:  # noqa: ANN401 - SQLAlchemy's own
    """Return a query of columns of the jobs of a list, without an order."""
    return _select(which, *columns)[0]


def _matches(search: str) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions under which a job is a result of a search."""
    yield Job.filename.icontains(search, autoescape=True)
    yield Job.model_sha256.startswith(search.lower(), autoescape=True)
    with suppress(ValueError):  # the text is not a UUID
        yield Job.id == uuid.UUID(search)
    with suppress(Refusal):  # the text is not a list of labels
        labels = parse_labels(search)
        yield and_(
            *(Job.labels[name].as_string() == value for name, value in labels.items())
        )


def _write_cursor(job: Job) -> str:
    """Return the cursor of the page after a job; opaque to clients."""
    return base64.urlsafe_b64encode(
        f"{job.created_at.isoformat()} {job.id}".encode()
    ).decode()


def _read_cursor(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        created_at, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(created_at).astimezone(UTC), uuid.UUID(job_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise cursor_invalid(cursor) from error


def cursor_invalid(cursor: str) -> Problem:
    """Return the problem of a cursor that cannot be read."""
    return Problem(
        "cursor_invalid",
        "the cursor does not come from this service",
        field="cursor",
        expected="next_cursor of the page before",
        got=cursor[:80],
    )

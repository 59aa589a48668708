"""Which jobs there are: filters, pages in the order of time, counts."""

import base64
import binascii
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.db.models import Job, JobLabel
from app.errors import Problem
from convpress.labels import parse_labels
from convpress.refusal import Refusal
from convpress.states import State


@dataclass(frozen=True)
class Filter:
    """Which jobs to list: those in one of the states, of the model, with all labels, created within the times.

    `search` is part of a file's name, the beginning of its SHA-256, a job's id or `name=value` of a label.
    """

    states: Sequence[State] = ()
    model_sha256: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    created_from: datetime | None = None
    created_before: datetime | None = None
    search: str = ""


def count(session: Session, wanted: Filter) -> dict[State, int]:
    """Return how many of the jobs are in each state, whatever states are wanted."""
    counted, _ = _choose(replace(wanted, states=()), Job.state, func.count())
    return {
        **dict.fromkeys(get_args(State), 0),
        **dict(iter(session.execute(counted.group_by(Job.state)))),
    }


def page(
    session: Session, wanted: Filter, limit: int, cursor: str | None
) -> tuple[Sequence[Job], str | None]:
    """Return up to `limit` jobs, newest first, and the cursor of the next page if there is one.

    Raises:
        Problem: `cursor_invalid`.
    """
    query, place = _choose(wanted, Job)
    if cursor is not None:
        query = query.where(tuple_(*place) < tuple_(*_read_cursor(cursor)))
    found = session.scalars(
        query.order_by(*(column.desc() for column in place)).limit(limit + 1)
    ).all()
    return found[:limit], _write_cursor(found[limit - 1]) if len(found) > limit else None


def _choose(wanted: Filter, *columns: Any) -> tuple[Select[Any], tuple[Any, Any]]:  # noqa: ANN401 - SQLAlchemy's own
    """Select of the jobs that are wanted, and tell the columns of their place in time.

    With labels these are the last one's, whose index has its jobs in their order, however many or few they are.
    """
    query, place = select(*columns).select_from(Job), (Job.created_at, Job.id)
    for name, value in wanted.labels.items():
        label = aliased(JobLabel)
        query = query.join(
            label, and_(label.job_id == Job.id, label.name == name, label.value == value)
        )
        place = (label.created_at, label.job_id)
    if wanted.states:
        query = query.where(Job.state.in_(wanted.states))
    if wanted.model_sha256 is not None:
        query = query.where(Job.model_sha256 == wanted.model_sha256)
    if wanted.created_from is not None:
        query = query.where(place[0] >= wanted.created_from)
    if wanted.created_before is not None:
        query = query.where(place[0] < wanted.created_before)
    if wanted.search:
        query = query.where(or_(*_alike(wanted.search)))
    return query, place


def _alike(search: str) -> Iterator[ColumnElement[bool]]:
    yield Job.filename.icontains(search, autoescape=True)
    yield Job.model_sha256.startswith(search.lower(), autoescape=True)
    with suppress(ValueError):  # it is no id
        yield Job.id == uuid.UUID(search)
    with suppress(Refusal):  # nor labels
        yield and_(
            *(Job.labels[name].as_string() == value for name, value in parse_labels(search).items())
        )


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

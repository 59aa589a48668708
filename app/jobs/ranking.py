"""Lists of jobs in the order of a figure of their results; jobs without the figure are left out."""

import base64
import binascii
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Double, Integer, case, cast, func, literal, tuple_
from sqlalchemy.orm import Session

from app.db.models import Job
from app.jobs.queries import Filter, cursor_invalid, select_jobs

Figure = Literal["error", "risk", "saved"]

_RISKS = {"low": 0, "moderate": 1, "high": 2, "unknown": 3}


def page_by(
    session: Session,
    which: Filter,
    figure: Figure,
    limit: int,
    cursor: str | None,
    *,
    descending: bool = False,
) -> tuple[Sequence[Job], str | None]:
    """Return up to `limit` jobs in the order of a figure, and the cursor of the next page.

    Raises:
        Problem: `cursor_invalid`.
    """
    value = _value(figure)
    query = select_jobs(which, Job, value).where(value.is_not(None))
    position = tuple_(value, Job.id)
    if cursor is not None:
        last = tuple_(*map(literal, _read_cursor(cursor)))
        query = query.where(position < last if descending else position > last)
    for column in (value, Job.id):
        query = query.order_by(column.desc() if descending else column)
    # One more than the page has, to know whether there is a next page.
    rows = session.execute(query.limit(limit + 1)).all()
    jobs = [row[0] for row in rows[:limit]]
    if len(rows) <= limit:
        return jobs, None
    last_job, last_value = rows[limit - 1]
    return jobs, _write_cursor(last_value, last_job.id)


def _value(figure: Figure) -> ColumnElement[Any]:
    """Return the figure as a number that grows with what is less wanted, or with what is saved."""
    if figure == "error":
        return Job.measured_error.expression
    if figure == "risk":
        return cast(case(_RISKS, value=Job.risk_level), Integer)
    kept = cast(Job.macs_after, Double) / cast(func.nullif(Job.macs_before, 0), Double)
    return 1.0 - kept


def _write_cursor(value: float, job_id: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(f"{value!r} {job_id}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[float, uuid.UUID]:
    try:
        value, job_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return float(value), uuid.UUID(job_id)
    except (ValueError, binascii.Error) as error:
        raise cursor_invalid(cursor) from error

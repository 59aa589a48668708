"""A job as it is asked for all the time: one prepared query, without the ORM, which would cost thrice as much."""

import uuid
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select

from app.db import get_engine
from app.errors import Problem
from app.models import Job, Model
from app.settings import get_settings

_JOB, _MODEL = Job.__table__, Model.__table__
_QUERY = (
    select(_JOB, _MODEL.c.format.label("model_format"), _MODEL.c.bytes.label("model_bytes"))
    .join(_MODEL, _JOB.c.model_sha256 == _MODEL.c.sha256)
    .where(_JOB.c.id == bindparam("job_id"))
)


class SeenModel(NamedTuple):
    """What a job says of its model."""

    sha256: str
    format: str
    bytes: int


class SeenJob:
    """A job's row, to be read like a `Job`."""

    def __init__(self, row: Row[Any]) -> None:
        self._row = row
        self.model = SeenModel(row.model_sha256, row.model_format, row.model_bytes)

    def __getattr__(self, column: str) -> Any:  # noqa: ANN401 - columns of any type
        return getattr(self._row, column)


def see(job_id: str) -> SeenJob:
    """Return a job as it is now.

    Raises:
        Problem: `job_not_found`, also for what is no job id at all.
    """
    try:
        identity = uuid.UUID(job_id)
    except ValueError as error:
        raise not_found(job_id) from error
    with get_engine(get_settings().sql_url).connect() as connection:
        row = connection.execute(_QUERY, {"job_id": identity}).one_or_none()
    if row is None:
        raise not_found(job_id)
    return SeenJob(row)


def not_found(job_id: str) -> Problem:
    """Say that there is no such job."""
    return Problem("job_not_found", f"there is no job {job_id[:80]!r}", field="job_id", got=job_id[:80])

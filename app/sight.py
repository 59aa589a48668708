"""Jobs as they are asked for all the time: by one prepared query for all who ask at once, and without the ORM."""

import asyncio
import uuid
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select
from starlette.concurrency import run_in_threadpool

from app import schemas
from app.db import get_engine
from app.errors import Problem
from app.models import Job, Model
from app.owners import current_owner
from app.settings import get_settings

_JOB, _MODEL = Job.__table__, Model.__table__
_QUERY = (
    select(_JOB, _MODEL.c.format.label("model_format"), _MODEL.c.bytes.label("model_bytes"))
    .join(_MODEL, _JOB.c.model_sha256 == _MODEL.c.sha256)
    .where(_JOB.c.id.in_(bindparam("job_ids", expanding=True)))
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

    @cached_property
    def json(self) -> bytes:
        """What the API says of it: made once for all who asked at once."""
        return schemas.Job.of(self).model_dump_json().encode()


class Sight:
    """Looks for all who ask while the look before is under way, so that a crowd costs hardly more than one."""

    def __init__(self) -> None:
        self._asked: dict[uuid.UUID, list[asyncio.Future[SeenJob | None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def see(self, job_id: str) -> SeenJob:
        """Return a job as it is now: the look begins after the question.

        Raises:
            Problem: `job_not_found`, also for what is no job id at all.
        """
        try:
            identity = uuid.UUID(job_id)
        except ValueError as error:
            raise not_found(job_id) from error
        answer: asyncio.Future[SeenJob | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(identity, []).append(answer)  # one for each, so that who goes away cancels no other's
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        job = await answer
        owner = current_owner.get()  # of who asks; the look is for all of them, and no query of the ORM
        if job is None or (owner is not None and job.owner != owner):
            raise not_found(job_id)
        return job

    async def _look(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            seen: Mapping[uuid.UUID, SeenJob] | Exception
            try:
                seen = await run_in_threadpool(see, asked.keys())
            except Exception as error:  # it is the askers' to handle
                seen = error
            for job_id, answers in asked.items():
                for answer in answers:
                    if answer.done():  # who asked has gone away
                        continue
                    if isinstance(seen, Exception):
                        answer.set_exception(seen)
                    else:
                        answer.set_result(seen.get(job_id))


def see(job_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, SeenJob]:
    """Return those of the jobs that there are."""
    engine = get_engine(get_settings().sql_url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:  # one query is no transaction: two trips to PostgreSQL less
        return {row.id: SeenJob(row) for row in connection.execute(_QUERY, {"job_ids": list(job_ids)})}


def not_found(job_id: str) -> Problem:
    """Say that there is no such job."""
    return Problem("job_not_found", f"there is no job {job_id[:80]!r}", field="job_id", got=job_id[:80])

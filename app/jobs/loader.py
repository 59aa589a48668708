"""The query of a poll: prepared once, without the ORM, and shared by concurrent requests."""

import asyncio
import uuid
from collections.abc import Collection, Mapping
from functools import cache

from sqlalchemy import Engine, bindparam, select
from starlette.concurrency import run_in_threadpool

from app.db.models import Job, Model
from app.db.session import get_engine
from app.errors import Problem
from app.identity import current_owner
from app.jobs.rows import JobRow
from app.settings import get_settings

_JOB = Job.__table__
_MODEL = Model.__table__
_QUERY = (
    select(
        _JOB, _MODEL.c.format.label("model_format"), _MODEL.c.bytes.label("model_bytes")
    )
    .join(_MODEL, _JOB.c.model_sha256 == _MODEL.c.sha256)
    .where(_JOB.c.id.in_(bindparam("job_ids", expanding=True)))
)

Waiting = dict[uuid.UUID, list[asyncio.Future[JobRow | None]]]
Rows = Mapping[uuid.UUID, JobRow]


class JobLoader:
    """Coalesces concurrent reads: callers that arrive during a query share the next one."""

    def __init__(self) -> None:
        self._waiting: Waiting = {}
        self._task: asyncio.Task[None] | None = None

    async def load(self, job_id: str) -> JobRow:
        """Return a job as it is now: the query begins after the call.

        Raises:
            Problem: `job_not_found`, also where `job_id` is not a UUID.
        """
        try:
            identity = uuid.UUID(job_id)
        except ValueError as error:
            raise not_found(job_id) from error
        job = await self._answer(identity)
        # The query is the same for all callers and no query of the ORM, so that the session's
        # filter by owner does not apply to it.
        owner = current_owner.get()
        if job is None or (owner is not None and job.owner != owner):
            raise not_found(job_id)
        return job

    def _answer(self, job_id: uuid.UUID) -> asyncio.Future[JobRow | None]:
        """Add a caller; each has a future of its own, so that cancelling one cancels no other."""
        answer: asyncio.Future[JobRow | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting.setdefault(job_id, []).append(answer)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return answer

    async def _run(self) -> None:
        while self._waiting:
            waiting = self._waiting
            self._waiting = {}
            try:
                rows = await run_in_threadpool(load_jobs, waiting.keys())
            except Exception as error:  # each caller handles it
                _fail(waiting, error)
            else:
                _resolve(waiting, rows)


def _fail(waiting: Waiting, error: Exception) -> None:
    for answers in waiting.values():
        for answer in answers:
            if not answer.done():  # the caller was cancelled
                answer.set_exception(error)


def _resolve(waiting: Waiting, rows: Rows) -> None:
    for job_id, answers in waiting.items():
        for answer in answers:
            if not answer.done():  # the caller was cancelled
                answer.set_result(rows.get(job_id))


def load_jobs(job_ids: Collection[uuid.UUID]) -> Rows:
    """Return the rows of those of the jobs that exist."""
    with _engine(get_settings().sql_url).connect() as connection:
        rows = connection.execute(_QUERY, {"job_ids": list(job_ids)})
        return {row.id: JobRow(row) for row in rows}


@cache
def _engine(url: str) -> Engine:
    """Return the process's engine for single queries.

    These need no transaction, which would cost two more trips to PostgreSQL.
    """
    return get_engine(url).execution_options(isolation_level="AUTOCOMMIT")


def not_found(job_id: str) -> Problem:
    """Return the problem of an unknown job."""
    return Problem(
        "job_not_found",
        f"there is no job {job_id[:80]!r}",
        field="job_id",
        got=job_id[:80],
    )

"""Jobs as they are asked for all the time: by one prepared query for all who ask at once, and without the ORM."""

import asyncio
import uuid
from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, select
from starlette.concurrency import run_in_threadpool

from app.db.models import Job, Model
from app.db.session import get_engine
from app.errors import Problem
from app.identity import current_owner
from app.jobs.rows import JobRow
from app.settings import get_settings

_JOB, _MODEL = Job.__table__, Model.__table__
_QUERY = (
    select(_JOB, _MODEL.c.format.label("model_format"), _MODEL.c.bytes.label("model_bytes"))
    .join(_MODEL, _JOB.c.model_sha256 == _MODEL.c.sha256)
    .where(_JOB.c.id.in_(bindparam("job_ids", expanding=True)))
)


class JobLoader:
    """Looks for all who ask while the look before is under way, so that a crowd costs hardly more than one."""

    def __init__(self) -> None:
        self._asked: dict[uuid.UUID, list[asyncio.Future[JobRow | None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def load(self, job_id: str) -> JobRow:
        """Return a job as it is now: the look begins after the question.

        Raises:
            Problem: `job_not_found`, also for what is no job id at all.
        """
        try:
            identity = uuid.UUID(job_id)
        except ValueError as error:
            raise not_found(job_id) from error
        answer: asyncio.Future[JobRow | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(identity, []).append(
            answer
        )  # one for each, so that who goes away cancels no other's
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        job = await answer
        owner = (
            current_owner.get()
        )  # of who asks; the look is for all of them, and no query of the ORM
        if job is None or (owner is not None and job.owner != owner):
            raise not_found(job_id)
        return job

    async def _look(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            seen: Mapping[uuid.UUID, JobRow] | Exception
            try:
                seen = await run_in_threadpool(load_jobs, asked.keys())
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


def load_jobs(job_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, JobRow]:
    """Return those of the jobs that there are."""
    engine = get_engine(get_settings().sql_url).execution_options(isolation_level="AUTOCOMMIT")
    with (
        engine.connect() as connection
    ):  # one query is no transaction: two trips to PostgreSQL less
        return {
            row.id: JobRow(row) for row in connection.execute(_QUERY, {"job_ids": list(job_ids)})
        }


def not_found(job_id: str) -> Problem:
    """Say that there is no such job."""
    return Problem(
        "job_not_found", f"there is no job {job_id[:80]!r}", field="job_id", got=job_id[:80]
    )

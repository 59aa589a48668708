"""One look at SQL, a few times a second, for all who wait for jobs in this process."""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.db.models import Job
from app.db.session import transaction

_LOOK_SECONDS = 0.25

Glimpse = tuple[str, int, str | None, float]
"""What can be seen of a job: state, attempt, phase and progress."""

log = structlog.get_logger(__name__)


class Watch:
    """Wakes those who follow a job whenever it looks different; looks only while somebody does."""

    def __init__(self) -> None:
        self._followers: dict[uuid.UUID, set[asyncio.Event]] = {}
        self._looking: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def follow(self, job_id: uuid.UUID) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set when the job has changed, or may have; clear it before looking."""
        changed = asyncio.Event()
        followers = self._followers.setdefault(job_id, set())
        followers.add(changed)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(
                self._look(), context=contextvars.Context()
            )  # it looks for all owners
        try:
            yield changed
        finally:
            followers.discard(changed)
            if not followers and self._followers.get(job_id) is followers:
                del self._followers[job_id]

    async def _look(self) -> None:
        before: Mapping[uuid.UUID, Glimpse] = {}
        while self._followers:
            await asyncio.sleep(_LOOK_SECONDS)
            watched = list(self._followers)
            try:
                now = await run_in_threadpool(see, watched)
            except SQLAlchemyError as error:
                log.warning("nothing to be seen of the jobs", error=str(error))
                continue
            for job_id in watched:
                if before.get(job_id) != now.get(job_id) or job_id not in now:
                    for changed in self._followers.get(job_id, ()):
                        changed.set()
            before = now


def see(job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Glimpse]:
    """Look at jobs; those that are gone are not in what is seen."""
    with transaction() as session:
        columns = (Job.id, Job.state, Job.attempt, Job.phase, Job.progress)
        rows = session.execute(select(*columns).where(Job.id.in_(job_ids)))
        return {
            job_id: (state, attempt, phase, progress)
            for job_id, state, attempt, phase, progress in rows
        }

"""One poll of SQL, a few times a second, for all requests that follow jobs in this process."""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from app import loops
from app.db.models import Job
from app.db.session import transaction

_POLL_SECONDS = 0.25
_LONGEST_PAUSE = 5.0
# Each holds some 40 KB until its job ends.
_MOST_FOLLOWERS = 2000

Status = tuple[str, int, str | None, float, float | None]
"""The state, attempt, phase, progress and time left of a job: a change wakes the followers."""


class JobWatcher:
    """Wakes the followers of a job whenever its status changes.

    Polls only while there are followers.
    """

    def __init__(self) -> None:
        self._followers: dict[uuid.UUID, set[asyncio.Event]] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether it has as many followers as it may have."""
        return self._count >= _MOST_FOLLOWERS

    @asynccontextmanager
    async def follow(self, job_id: uuid.UUID) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set when the job has changed, or may have.

        Clear it before reading the job.
        """
        changed = asyncio.Event()
        followers = self._followers.setdefault(job_id, set())
        followers.add(changed)
        self._count += 1
        if self._task is None or self._task.done():
            # An empty context, because the poll sees the jobs of all owners.
            self._task = asyncio.create_task(
                self._poll(), context=contextvars.Context()
            )
        try:
            yield changed
        finally:
            followers.discard(changed)
            self._count -= 1
            if not followers and self._followers.get(job_id) is followers:
                del self._followers[job_id]

    async def _poll(self) -> None:
        before: Mapping[uuid.UUID, Status] = {}
        backoff = loops.Backoff("watcher", _POLL_SECONDS, _LONGEST_PAUSE)
        pause = _POLL_SECONDS
        while self._followers:
            await asyncio.sleep(pause)
            job_ids = list(self._followers)
            try:
                now = await run_in_threadpool(load_statuses, job_ids)
            except Exception as error:
                pause = backoff.after(error)
                continue
            pause = backoff.after(None)
            for job_id in job_ids:
                # A deleted job has no status; its followers find out when they read it.
                if job_id not in now or before.get(job_id) != now[job_id]:
                    self._wake(job_id)
            before = now

    def _wake(self, job_id: uuid.UUID) -> None:
        for changed in self._followers.get(job_id, ()):
            changed.set()


def load_statuses(job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Status]:
    """Return the statuses of those of the jobs that exist."""
    columns = (Job.id, Job.state, Job.attempt, Job.phase, Job.progress, Job.eta_seconds)
    query = select(*columns).where(Job.id.in_(job_ids))
    with transaction() as session:
        rows = session.execute(query)
        return {
            job_id: (state, attempt, phase, progress, eta)
            for job_id, state, attempt, phase, progress, eta in rows
        }

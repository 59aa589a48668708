"""Keep a lease while its job runs, and tell SQL how far the job is, no more often than anybody looks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import transaction
from worker.queue import lease as leases
from worker.queue.lease import Lease
from worker.sandbox.messages import Progress

_TICK_SECONDS = 0.1
_REPORT_SECONDS = 0.3
_ASK_SECONDS = 1.0
"""A job that was cancelled is let go of as soon as this."""

log = structlog.get_logger(__name__)


class Lap(NamedTuple):
    """When a phase began and ended for the last time, by the clock, and how many seconds were spent in it."""

    began: float
    ended: float
    seconds: float


class Heartbeat:
    """Beats for one lease while its job is worked on; `held` says whether the job is still ours."""

    def __init__(
        self, lease: Lease, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease = lease
        self._seconds = seconds
        self._clock = clock
        self._renewed = self._tried = clock()
        self._news: Progress | None = None
        self._phase: str | None = None
        self._since = self._renewed
        self._laps: dict[str, Lap] = {}
        self.held = True

    def report(self, progress: Progress) -> None:
        """Note how far the job is, for the next beat."""
        self._news = progress
        self._laps = self.laps()
        self._phase, self._since = progress.phase, self._clock()

    def laps(self) -> dict[str, Lap]:
        """Return how long each phase has taken so far."""
        if self._phase is None:
            return {}
        now = self._clock()
        began, _, seconds = self._laps.get(self._phase, Lap(self._since, now, 0.0))
        return {**self._laps, self._phase: Lap(began, now, seconds + now - self._since)}

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat during the block from a thread of its own: a slow store is no reason to lose a job."""
        ended = threading.Event()

        def beat_on() -> None:
            while not ended.wait(_TICK_SECONDS) and self.beat():
                pass

        thread = threading.Thread(target=beat_on, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def beat(self) -> bool:
        """Renew the lease when that is due or there is news; cheap enough to be called at every turn.

        The renewal also tells whether the job is still wanted.

        A database that cannot be reached is no reason to stop before the lease would have run out.
        """
        now = self._clock()
        due = _REPORT_SECONDS if self._news else _ASK_SECONDS
        if not self.held or now - self._tried < min(due, self._seconds / 3):
            return self.held
        self._tried = now
        news, self._news = self._news, None
        try:
            with transaction() as session:
                phase, fraction = (news.phase, news.fraction) if news else (None, 0.0)
                self.held = leases.renew(session, self._lease, self._seconds, phase, fraction)
        except SQLAlchemyError as error:
            log.warning("lease not renewed", job_id=str(self._lease.job_id), error=str(error))
            self._news = self._news or news
            self.held = now - self._renewed < self._seconds
            return self.held
        self._renewed = now
        return self.held

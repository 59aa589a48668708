"""The heartbeat of a running job: it renews the lease and writes the progress to SQL."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from app import loops
from app.db.session import transaction
from worker.queue import lease as leases
from worker.queue.lease import Lease
from worker.sandbox.messages import Progress
from worker.time_left import TimeLeft

_TICK_SECONDS = 0.1
# Progress is written no more often than followers of a job poll for it.
_REPORT_SECONDS = 0.3
# The renewal also shows that a job was cancelled; this bounds the time until its child is killed.
_RENEW_SECONDS = 1.0
# Without news the time left is written again only where it is off by this share, and by some
# seconds: each change of a job wakes its followers.
_DRIFT_SHARE = 0.2
_DRIFT_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Lap(NamedTuple):
    """The clock's times when a phase first began and last ended, and the seconds spent in it."""

    began: float
    ended: float
    seconds: float


class Heartbeat:
    """Renews one lease while its job runs; `held` says whether the job is still ours."""

    def __init__(
        self, lease: Lease, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease = lease
        self._seconds = seconds
        self._clock = clock
        self._renewed = clock()
        self._tried = self._renewed
        self._news: Progress | None = None
        self._last: Progress | None = None
        self._time_left = TimeLeft(clock)
        self._written_eta: float | None = None
        self._phase: str | None = None
        self._since = self._renewed
        self._laps: dict[str, Lap] = {}
        self.held = True

    def report(self, progress: Progress) -> None:
        """Note the progress of the job, for the next beat."""
        self._news = self._last = progress
        self._time_left.note(progress.phase, progress.fraction)
        self._laps = self.laps()
        self._phase = progress.phase
        self._since = self._clock()

    def laps(self) -> dict[str, Lap]:
        """Return the lap of each phase so far."""
        if self._phase is None:
            return {}
        now = self._clock()
        lap = self._laps.get(self._phase, Lap(self._since, now, 0.0))
        seconds = lap.seconds + now - self._since
        return {**self._laps, self._phase: Lap(lap.began, now, seconds)}

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat during the block from a thread of its own, so that a slow store costs no lease."""
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
        """Renew the lease if that is due, and return whether it is held.

        While the database is unavailable, the lease counts as held until it would have run out.
        """
        now = self._clock()
        if not self.held or now - self._tried < self._interval():
            return self.held
        self._tried = now
        news = self._news
        self._news = None
        try:
            self.held = self._renew(news)
        # Any other exception would end the thread, and the lease with it, while the job goes on.
        except Exception as error:
            log.warning("lease not renewed", job_id=str(self._lease.job_id))
            loops.note_failure("heartbeat", error)
            self._news = self._news or news
            self.held = now - self._renewed < self._seconds
            return self.held
        self._renewed = now
        return self.held

    def _interval(self) -> float:
        """Return the seconds between two beats: a third of the lease at most."""
        due = _REPORT_SECONDS if self._news else _RENEW_SECONDS
        return min(due, self._seconds / 3)

    def _renew(self, news: Progress | None) -> bool:
        eta = self._time_left.seconds()
        if self._has_drifted(eta):
            news = news or self._last
        with transaction() as session:
            if news is None:
                return leases.renew(session, self._lease, self._seconds)
            self._written_eta = eta
            return leases.renew(
                session, self._lease, self._seconds, news.phase, news.fraction, eta
            )

    def _has_drifted(self, eta: float | None) -> bool:
        """Tell whether the time left in the job's row is no longer about right."""
        if eta is None or self._written_eta is None:
            return eta is not self._written_eta
        drift = abs(eta - self._written_eta)
        return drift > max(_DRIFT_SHARE * self._written_eta, _DRIFT_SECONDS)

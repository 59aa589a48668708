"""What requests come and how long they take: counted in this process, soon added to the sums that all share in SQL."""

import asyncio
import bisect
import threading
from collections import defaultdict

import anyio
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.db.session import transaction
from app.stats import counters

_PAUSE_SECONDS = 5.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


class Traffic:
    """Requests that are not in SQL yet; a process that is killed loses those of its last seconds."""

    def __init__(self) -> None:
        self._amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request; its route is the path's template, of which there are few, or None where none fits."""
        series = f"{method if method in _METHODS else 'other'} {route or 'other'} {status}"
        bucket = counters.REQUEST_BUCKETS[bisect.bisect_left(counters.REQUEST_BUCKETS, seconds)]
        with self._lock:
            self._amounts[counters.REQUEST, f"{series} {bucket:g}"] += 1
            self._amounts[counters.REQUEST, f"{series} sum"] += seconds

    def flush(self) -> None:
        """Add what was counted to the sums; where that fails it stays here for the next time."""
        with self._lock:
            taken, self._amounts = self._amounts, defaultdict(float)
        if not taken:
            return
        try:
            with transaction() as session:
                counters.add(session, taken)
        except BaseException:
            with self._lock:
                for each, amount in taken.items():
                    self._amounts[each] += amount
            raise

    async def keep(self) -> None:
        """Flush every few seconds until cancelled, and once more then; a database that is away is asked again."""
        try:
            while True:
                await asyncio.sleep(_PAUSE_SECONDS)
                await self._try()
        finally:
            with anyio.CancelScope(shield=True):
                await self._try()

    async def _try(self) -> None:
        try:
            await run_in_threadpool(self.flush)
        except SQLAlchemyError as error:
            log.warning("requests not counted yet", error=str(error)[:500])

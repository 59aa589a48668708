"""Counts HTTP requests and their durations in this process, and adds them to the sums in SQL.

The sums are shared by all processes of the API, so each of them can answer `/metrics` and `/stats`
for the whole service. Counters in a process's memory would answer for that process only.
"""

import asyncio

import anyio
from starlette.concurrency import run_in_threadpool

from app import loops
from app.stats import counters
from app.stats.pending import PendingAmounts

_FLUSH_SECONDS = 5.0
_LONGEST_PAUSE = 60.0
# Anything else a client invents is counted as "other", so clients cannot make new series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestCounts:
    """Requests that are not in SQL yet; a killed process loses those of its last seconds."""

    def __init__(self) -> None:
        self._pending = PendingAmounts()

    def count(
        self, method: str, route: str | None, status: int, seconds: float
    ) -> None:
        """Count a request by its route's path template; None for a path without a route."""
        if method not in _METHODS:
            method = "other"
        series = f"{method} {route or 'other'} {status}"
        bucket = counters.bucket_of(seconds, counters.REQUEST_BUCKETS)
        self._pending.add(
            {
                (counters.REQUEST, f"{series} {bucket:g}"): 1,
                (counters.REQUEST, f"{series} sum"): seconds,
            }
        )

    def flush(self) -> None:
        """Add the counts to the sums in SQL; where that fails, keep them for the next flush."""
        self._pending.flush()

    async def flush_regularly(self) -> None:
        """Flush every few seconds until cancelled, and once more at the end."""
        backoff = loops.Backoff("counters", _FLUSH_SECONDS, _LONGEST_PAUSE)
        pause = _FLUSH_SECONDS
        try:
            while True:
                await asyncio.sleep(pause)
                pause = backoff.after(await self._try_to_flush())
        finally:
            # Shielded: the task is being cancelled, and the last flush has to finish.
            with anyio.CancelScope(shield=True):
                backoff.after(await self._try_to_flush())

    async def _try_to_flush(self) -> Exception | None:
        """Flush these counts and those of failed loops, and return the error where that fails."""
        try:
            await run_in_threadpool(self.flush)
            await run_in_threadpool(loops.flush)
        except Exception as error:
            return error
        return None

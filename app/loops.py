"""Loops that run as long as their process: no failure ends one, and none goes unseen.

A loop catches every exception of the work that it repeats. It tells its `Backoff`, which logs and
counts the failure and returns the pause before the next try. The counts go into SQL, like all that
`/metrics` shows: this process adds them whenever it calls `flush`.
"""

import structlog

from app.stats import counters
from app.stats.pending import PendingAmounts

_MOST_DOUBLINGS = 10
_LONGEST_ERROR = 500

log = structlog.get_logger(__name__)


class Backoff:
    """The pauses of one loop, in seconds: `pause`, doubled by each failure up to `longest`."""

    def __init__(self, loop: str, pause: float, longest: float) -> None:
        self._loop = loop
        self._pause = pause
        self._longest = max(pause, longest)
        self._failures = 0

    def after(self, error: Exception | None) -> float:
        """Return the pause after a try, which raised `error` or succeeded."""
        if error is None:
            self._failures = 0
            return self._pause
        note_failure(self._loop, error)
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        doubled: float = self._pause * 2**self._failures
        return min(doubled, self._longest)


_failures = PendingAmounts()


def note_failure(loop: str, error: Exception) -> None:
    """Log and count a failure of a loop."""
    kind = type(error).__name__
    log.warning(
        "a loop failed and goes on",
        loop=loop,
        kind=kind,
        error=str(error)[:_LONGEST_ERROR],
    )
    _failures.add({counters.of_failure(loop, kind): 1})


def flush() -> None:
    """Add the failures to the sums in SQL; where that fails, keep them for the next flush."""
    _failures.flush()

"""Requests a minute for each owner, counted in Redis if the broker is Redis, else in this process.

Windows are fixed: the first request of an owner opens one, and it lasts a minute.
"""

import threading
import time
from functools import cache

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.errors import Problem
from app.settings import Settings

_REDIS_SCHEMES = ("redis", "rediss")
_TIMEOUT_SECONDS = 0.5
_KEY_PREFIX = "convpress:requests"

# MemoryStorage reads a count again after it has released its own lock, so that of two requests at
# once both would see the higher count.
_lock = threading.Lock()

log = structlog.get_logger(__name__)


def check_rate(owner: str, settings: Settings) -> None:
    """Count one request of an owner, and refuse it beyond `owner_requests_per_minute`.

    Raises:
        Problem: `rate_exceeded`, with the rest of the window as `Retry-After`.
    """
    limit = RateLimitItemPerMinute(settings.owner_requests_per_minute)
    wait = _count(owner, limit, settings.broker_url)
    if wait is not None:
        raise Problem(
            "rate_exceeded",
            "too many requests",
            expected=f"at most {settings.owner_requests_per_minute} a minute",
            headers={"Retry-After": str(wait)},
        )


def _count(owner: str, limit: RateLimitItem, broker_url: str | None) -> int | None:
    """Count one request; return the seconds to wait if it exceeds the limit, else None."""
    scheme, _, _ = (broker_url or "").partition("://")
    if broker_url is not None and scheme in _REDIS_SCHEMES:
        # Its import, with OpenTelemetry's, is a tenth of the API's start.
        from redis import RedisError

        try:
            return _hit(shared_limiter(broker_url), limit, owner)
        except RedisError as error:
            # A Redis that does not answer is no reason to refuse callers.
            log.warning("requests are counted in this process only", error=str(error))
    with _lock:
        return _hit(local_limiter(), limit, owner)


def _hit(
    limiter: FixedWindowRateLimiter, limit: RateLimitItem, owner: str
) -> int | None:
    if limiter.hit(limit, owner):
        return None
    window = limiter.get_window_stats(limit, owner)
    # Rounded up, so that a client that waits so long meets a new window.
    return max(0, int(window.reset_time - time.time())) + 1


@cache
def local_limiter() -> FixedWindowRateLimiter:
    """Return the limiter of this process."""
    return FixedWindowRateLimiter(MemoryStorage())


@cache
def shared_limiter(url: str) -> FixedWindowRateLimiter:
    """Return the limiter that all processes share; it connects to Redis with the first request."""
    storage = RedisStorage(
        url,
        key_prefix=_KEY_PREFIX,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
    )
    return FixedWindowRateLimiter(storage)

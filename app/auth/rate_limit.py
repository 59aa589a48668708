"""How many requests an owner may send a minute: counted in Redis where there is one, so that all processes agree."""

import threading
import time
from collections.abc import Callable
from functools import cache

import redis
import structlog

from app.settings import get_settings

WINDOW_SECONDS = 60
_TIMEOUT_SECONDS = 0.5

log = structlog.get_logger(__name__)


def wait_needed(owner: str, most: int, clock: Callable[[], float] = time.time) -> int | None:
    """Count one request of an owner; return how many seconds to wait where that is more than `most` a minute.

    Redis that does not answer is no reason to turn anyone away: this process then counts for itself.
    """
    now = clock()
    window = int(now // WINDOW_SECONDS)
    url = get_settings().broker_url
    counted = None
    if url is not None and url.startswith(("redis://", "rediss://", "unix://")):
        try:
            counted = _count_in_redis(url, owner, window)
        except redis.RedisError as error:
            log.warning("requests are counted in this process alone", error=str(error))
    if counted is None:
        counted = _count_here(owner, window)
    return int((window + 1) * WINDOW_SECONDS - now) + 1 if counted > most else None


def _count_in_redis(url: str, owner: str, window: int) -> int:
    key = f"convpress:requests:{owner}:{window}"
    with _client(url).pipeline() as pipeline:
        pipeline.incr(key)
        pipeline.expire(key, 2 * WINDOW_SECONDS)
        return int(pipeline.execute()[0])


_lock = threading.Lock()
_counts: dict[tuple[str, int], int] = {}


def _count_here(owner: str, window: int) -> int:
    with _lock:
        for past in [key for key in _counts if key[1] < window]:
            del _counts[past]
        _counts[owner, window] = _counts.get((owner, window), 0) + 1
        return _counts[owner, window]


@cache
def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
    )

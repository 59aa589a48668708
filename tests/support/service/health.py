"""A thread that asks a running service for its health, and notes how long it waits."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import httpx


class Health:
    """Asks `/healthz` without a break until the block ends; `waits` are in seconds of a clock."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.waits: list[float] = []
        self._url = url
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    @property
    def longest(self) -> float:
        """The longest wait, in seconds."""
        return max(self.waits)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as http:
            # Once at least, however short the block is.
            while not self.waits or not self._ended.wait(0.02):
                started = self._clock()
                assert http.get("/healthz").status_code == httpx.codes.OK
                self.waits.append(self._clock() - started)

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

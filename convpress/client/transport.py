"""Calls to a service, tried again while that may help; written once, for callers that block and those that do not.

All is written as coroutines over a `Line`. One that blocks never suspends them, so `finish` runs them to their end in a
single step, without an event loop.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import ValidationError

from convpress.schemas import PROBLEM_MEDIA_TYPE, Problem

T = TypeVar("T")

_BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
"""What the network does to a call; all else that httpx raises is the caller's mistake."""
_BUSY = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
_TIMEOUT = httpx.Timeout(
    90.0, connect=10.0
)  # a service that is asked to holds its answer for up to a minute


class ClientError(Exception):
    """What a client raises; says what went wrong."""


class Refused(ClientError):
    """The service answered with a problem; its `code` is stable, docs/api.md has them all."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


class Unavailable(ClientError):
    """The service could not be reached for as long as patience lasted, or what answers is no such service."""


class Line(Protocol):
    """What carries calls, and how to wait between them."""

    @property
    def http(self) -> httpx.Client | httpx.AsyncClient:
        """What builds the requests."""

    def stream(self, request: httpx.Request) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request; give the answer before its body has come, and let go of it after the block."""

    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Receive the body piece by piece."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Blocking:
    """A line whose coroutines never suspend."""

    def __init__(self, server: str, headers: dict[str, str]) -> None:
        self.http = httpx.Client(base_url=server, headers=headers, timeout=_TIMEOUT)

    @asynccontextmanager
    async def stream(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request."""
        response = self.http.send(request, stream=True, follow_redirects=request.method == "GET")
        try:
            yield response
        finally:
            response.close()

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Receive the body."""
        for chunk in response.iter_bytes():
            yield chunk

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Suspending:
    """A line on the running event loop."""

    def __init__(self, server: str, headers: dict[str, str]) -> None:
        self.http = httpx.AsyncClient(base_url=server, headers=headers, timeout=_TIMEOUT)

    @asynccontextmanager
    async def stream(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request."""
        response = await self.http.send(
            request, stream=True, follow_redirects=request.method == "GET"
        )
        try:
            yield response
        finally:
            await response.aclose()

    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Receive the body."""
        return response.aiter_bytes()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a blocking line.

    >>> async def answer() -> int:
    ...     return 42
    >>> finish(answer())
    42
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a blocking line suspended its caller")


class Patience:
    """How long what fails is tried again: `seconds` from the first failure on, with pauses that grow."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """Forget what failed: something has worked since."""
        self._until: float | None = None
        self._pause = _FIRST_PAUSE

    def next_pause(self, wanted: float) -> float | None:
        """Return how many seconds to wait, at least those that are `wanted`; None to give up."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        pause = max(wanted, self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - keeps clients apart, hides nothing
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause if now + pause <= self._until else None


async def call(
    line: Line,
    request: Callable[[], httpx.Request],
    receive: Callable[[httpx.Response], Awaitable[T]],
    patience: Patience,
) -> T:
    """Send what `request` builds, anew for every try, and return what `receive` makes of the answer.

    Only what may arrive twice can be sent so: where an answer is lost nobody knows whether the request was.

    Raises:
        Refused: the service answered with a problem.
        Unavailable: patience has ended, or what answered is no such service.
    """
    while True:
        wanted = 0.0
        try:
            async with line.stream(request()) as response:
                if response.is_success or response.status_code == httpx.codes.NOT_MODIFIED:
                    return await receive(response)
                error = _problem(response, await read(line, response))
            if response.status_code not in _BUSY:
                raise error
            wanted = _retry_after(response)
        except _BROKEN as broken:
            error = Unavailable(
                f"{line.http.base_url} does not answer: {broken or type(broken).__name__}"
            )
            error.__cause__ = broken
        pause = patience.next_pause(wanted)
        if pause is None:
            raise error
        await line.sleep(pause)


async def read(line: Line, response: httpx.Response) -> bytes:
    """Receive the whole body of an answer."""
    return b"".join([chunk async for chunk in line.chunks(response)])


def stranger(response: httpx.Response) -> Unavailable:
    """Say that what answers is not the service, a proxy before it perhaps."""
    return Unavailable(
        f"{response.url} answered {response.status_code}, and not as the service does"
    )


def _problem(response: httpx.Response, content: bytes) -> ClientError:
    if response.headers.get("content-type", "").partition(";")[0] != PROBLEM_MEDIA_TYPE:
        return stranger(response)
    try:
        return Refused(Problem.model_validate_json(content))
    except ValidationError:
        return stranger(response)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds that an answer asks to wait; a date counts for none."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else 0.0

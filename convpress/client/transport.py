"""HTTP calls with retries, written once for the blocking and the asynchronous client.

Everything is a coroutine over a `Transport`. The coroutines of a `SyncTransport` never suspend, so
`run_blocking` runs them to their end in one step, without an event loop.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import httpx
from pydantic import ValidationError

from convpress.client.errors import ClientError, Refused, Unavailable
from convpress.schemas import PROBLEM_MEDIA_TYPE, Problem

T = TypeVar("T")

# Faults of the network. All other errors of httpx are mistakes of the caller and are not retried.
_NETWORK_FAULTS = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
)
# Too many requests, and faults of the service or of a proxy that pass.
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0

# The service may hold an answer for up to a minute when it is asked to wait for a change.
_TIMEOUT = httpx.Timeout(90.0, connect=10.0)


class Transport(Protocol):
    """Sends requests, and waits between them."""

    @property
    def http(self) -> httpx.Client | httpx.AsyncClient:
        """The httpx client that builds the requests."""

    def stream(
        self, request: httpx.Request
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request and give the response before its body; the block's end closes it."""

    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Receive the body in pieces."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SyncTransport:
    """A transport that blocks: its coroutines never suspend."""

    def __init__(self, server: str, headers: dict[str, str]) -> None:
        self.http = httpx.Client(base_url=server, headers=headers, timeout=_TIMEOUT)

    @asynccontextmanager
    async def stream(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request."""
        # A download may be redirected to a bucket; a form must not go to another host.
        response = self.http.send(
            request, stream=True, follow_redirects=request.method == "GET"
        )
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


class AsyncTransport:
    """A transport on the running event loop."""

    def __init__(self, server: str, headers: dict[str, str]) -> None:
        self.http = httpx.AsyncClient(
            base_url=server, headers=headers, timeout=_TIMEOUT
        )

    @asynccontextmanager
    async def stream(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request."""
        follow = request.method == "GET"
        response = await self.http.send(request, stream=True, follow_redirects=follow)
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


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine over a `SyncTransport` and return its result.

    >>> async def answer() -> int:
    ...     return 42
    >>> run_blocking(answer())
    42
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a blocking transport suspended its caller")


class RetryBudget:
    """The time for retries: `seconds` from the first failure on, with pauses that grow."""

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """Forget earlier failures, because something has worked since."""
        self._deadline: float | None = None
        self._pause = _FIRST_PAUSE

    def next_pause(self, least: float) -> float | None:
        """Return the seconds to wait, `least` or more; None when the time is used up."""
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + self._seconds
        # Clients that failed together must not come back together.
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - it hides nothing
        pause = max(least, self._pause * jitter)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause if now + pause <= self._deadline else None


async def call(
    transport: Transport,
    build_request: Callable[[], httpx.Request],
    receive: Callable[[httpx.Response], Awaitable[T]],
    retries: RetryBudget,
) -> T:
    """Send a request, built anew for every attempt, and return the result of `receive`.

    The request must be safe to repeat: when a response is lost, nobody knows whether the request
    arrived.

    Raises:
        Refused: the service answered with a problem.
        Unavailable: the retries are used up, or another service answered.
    """
    while True:
        least_pause = 0.0
        try:
            async with transport.stream(build_request()) as response:
                if (
                    response.is_success
                    or response.status_code == httpx.codes.NOT_MODIFIED
                ):
                    return await receive(response)
                error = _problem(response, await read_body(transport, response))
            if response.status_code not in _RETRIED_STATUSES:
                raise error
            least_pause = _retry_after(response)
        except _NETWORK_FAULTS as fault:
            reason = str(fault) or type(fault).__name__
            error = Unavailable(f"{transport.http.base_url} does not answer: {reason}")
            error.__cause__ = fault
        # The response is closed by now: a pause holds no connection.
        pause = retries.next_pause(least_pause)
        if pause is None:
            raise error
        await transport.sleep(pause)


async def read_body(transport: Transport, response: httpx.Response) -> bytes:
    """Receive the whole body of a response."""
    return b"".join([chunk async for chunk in transport.chunks(response)])


def not_the_service(response: httpx.Response) -> Unavailable:
    """Return the error for an answer of another service, such as a proxy."""
    status = response.status_code
    return Unavailable(f"{response.url} answered {status}, and not as the service does")


def _problem(response: httpx.Response, content: bytes) -> ClientError:
    """Return the error that a response stands for."""
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type != PROBLEM_MEDIA_TYPE:
        return not_the_service(response)
    try:
        return Refused(Problem.model_validate_json(content))
    except ValidationError:
        return not_the_service(response)


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds of the Retry-After header; 0 for a date or nothing."""
    text = response.headers.get("retry-after", "")
    # A date is ignored: this machine may have another time.
    return float(text) if text.isdecimal() else 0.0

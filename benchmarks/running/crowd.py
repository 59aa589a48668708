"""A crowd of clients that follow jobs of a long queue, by long polls and by streams of events."""

import asyncio
import random
import resource
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from statistics import median
from typing import Any

import httpx
import psutil

from running.fleet import Fleet

POLLS = 500
STREAMS = 500
SECONDS = 60.0
WAIT_SECONDS = 5
ARRIVAL_SECONDS = 5.0
"""The time over which the clients arrive, before anything is measured."""
_PAUSE_SECONDS = 0.1
_OPEN_FILES = 8192
_Follow = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter, str], Coroutine[Any, Any, None]
]


def allow_connections() -> None:
    """Let this process and those that it starts have a file for each client."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, most), most))


def measure(fleet: Fleet, job_ids: Sequence[str]) -> dict[str, Any]:
    """Follow jobs with a thousand clients; return errors, the times of /healthz, and memory.

    On a busy machine the API waits for a processor. So the processor time that it takes until it
    answers is given too: on an idle machine the answer takes hardly longer.
    """
    crowd = _Crowd(fleet.base_url)
    followed = random.Random(0).sample(list(job_ids), POLLS + STREAMS)
    watch = _Watch(fleet)
    watch.start()
    asyncio.run(crowd.follow(followed[:POLLS], followed[POLLS:]))
    watch.stop()
    return {
        "followers_errors": len(crowd.errors),
        "followers_first_error": crowd.errors[0] if crowd.errors else None,
        "followers_polls": crowd.polls,
        "followers_events": crowd.events,
        "healthz_errors": len(watch.errors),
        "healthz_checks": len(watch.times),
        "healthz_median_s": round(median(watch.times), 4),
        "healthz_max_s": round(max(watch.times), 4),
        "healthz_max_processor_s": round(max(watch.costs), 2),
        "followers_api_processor": round(watch.processor_share, 2),
        "followers_api_mb": watch.memory_by_fifths(),
    }


class _Crowd:
    """Clients that follow jobs for a while; what is no answer is an error.

    They speak HTTP themselves: the pool of an HTTP library takes more of the processor for a
    thousand connections than the service does.
    """

    def __init__(self, base_url: str) -> None:
        self.errors: list[str] = []
        self.polls = 0
        self.events = 0
        self._url = httpx.URL(base_url)
        self._until = 0.0

    async def follow(self, polled: Sequence[str], streamed: Sequence[str]) -> None:
        """Follow all jobs at once."""
        self._until = time.monotonic() + ARRIVAL_SECONDS + SECONDS
        clients = [self._arrive(self._poll, job_id) for job_id in polled]
        clients += [self._arrive(self._stream, job_id) for job_id in streamed]
        await asyncio.gather(*clients)

    async def _arrive(self, follow: _Follow, job_id: str) -> None:
        await asyncio.sleep(random.uniform(0, ARRIVAL_SECONDS))
        try:
            reader, writer = await asyncio.open_connection(
                str(self._url.host), self._url.port
            )
            with closing(writer):
                await follow(reader, writer, job_id)
        except (OSError, EOFError, RuntimeError) as error:
            self.errors.append(repr(error))

    async def _poll(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job_id: str
    ) -> None:
        path = f"/jobs/{job_id}?wait={WAIT_SECONDS}"
        tag = ""
        while time.monotonic() < self._until:
            head = await self._ask(reader, writer, path, f"If-None-Match: {tag}\r\n")
            if head["status"] == "200":
                await reader.readexactly(int(head["content-length"]))
            elif head["status"] != "304":
                raise RuntimeError(f"{path}: {head}")
            tag = head["etag"]
            self.polls += 1

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job_id: str
    ) -> None:
        path = f"/jobs/{job_id}/events"
        head = await self._ask(reader, writer, path, "")
        if head["status"] not in ("200", "204"):
            raise RuntimeError(f"{path}: {head}")
        try:
            async with asyncio.timeout_at(self._deadline()):
                while line := await reader.readline():
                    self.events += line.startswith(b"event:")
        except TimeoutError:
            return  # the stream lasts as long as its job

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._until - time.monotonic()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        headers: str,
    ) -> dict[str, str]:
        """Send a request, and return the status and the headers of its answer."""
        host = self._url.netloc.decode()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode())
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        head = {name.lower(): value for name, value in pairs}
        return head | {"status": first.split()[1]}


class _Watch(threading.Thread):
    """Asks for /healthz all the time, and notes the memory of the API."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.times: list[float] = []
        self.costs: list[float] = []
        """The processor seconds of the API from each question to its answer."""
        self.errors: list[str] = []
        self.processor_share = 0.0
        self._memory: list[float] = []
        self._base_url = fleet.base_url
        self._process = psutil.Process(fleet.api.popen.pid)
        self._ended = threading.Event()

    def run(self) -> None:
        """Watch until stopped."""
        began = time.monotonic()
        spent = self._processor_seconds()
        with httpx.Client(base_url=self._base_url, timeout=60) as http:
            while not self._ended.wait(_PAUSE_SECONDS):
                self._check(http)
                self._memory.append(self._process.memory_info().rss / 1e6)
        spent = self._processor_seconds() - spent
        self.processor_share = spent / (time.monotonic() - began)

    def _check(self, http: httpx.Client) -> None:
        spent = self._processor_seconds()
        asked = time.perf_counter()
        try:
            http.get("/healthz").raise_for_status()
        except httpx.HTTPError as error:
            self.errors.append(repr(error))
        self.times.append(time.perf_counter() - asked)
        self.costs.append(self._processor_seconds() - spent)

    def _processor_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join()

    def memory_by_fifths(self) -> list[int]:
        """Return the memory of the API in MB at the end of each fifth of the time."""
        count = len(self._memory)
        return [round(self._memory[count * fifth // 5 - 1]) for fifth in range(1, 6)]

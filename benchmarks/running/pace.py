"""The pace of an HTTP endpoint, and the bare endpoint that it is compared with."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from running.servers import Process, free_port, wait_until

BARE = """
import uvicorn
from fastapi import FastAPI
from starlette.responses import Response

app = FastAPI()

@app.get("/jobs/{{job_id}}")
def get(job_id: str):
    return Response(b"x" * {length}, media_type="application/json")

uvicorn.run(app, port={port}, log_config=None)
"""
CONNECTIONS = 32
SECONDS = 5.0


class Pace(NamedTuple):
    """Answers a second, and the server's processor time an answer in microseconds."""

    rate: float
    cost: float


def pace(url: str, pid: int) -> Pace:
    """Return the pace at which a process answers clients that keep their connections."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    answered = asyncio.run(answers_within(url, SECONDS))
    spent = sum(process.cpu_times()[:2]) - before
    return Pace(answered / SECONDS, 1e6 * spent / answered)


async def answers_within(url: str, seconds: float) -> int:
    """Return the number of answers with 200 to clients that keep their connections."""
    target = httpx.URL(url)
    head = f"GET {target.raw_path.decode()} HTTP/1.1\r\nHost: {target.netloc.decode()}"
    request = f"{head}\r\n\r\n".encode()
    until = time.perf_counter() + seconds
    counts = await asyncio.gather(
        *(
            _client(str(target.host), target.port or 80, request, until)
            for _ in range(CONNECTIONS)
        )
    )
    return sum(counts)


async def _client(host: str, port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    answered = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        answered += 1
    writer.close()
    return answered


@contextmanager
def bare(folder: Path, length: int) -> Iterator[tuple[str, int]]:
    """Serve the endpoint that does nothing; give its address and its process."""
    port = free_port()
    process = Process(
        [sys.executable, "-c", BARE.format(port=port, length=length)],
        folder / "bare.log",
    )
    try:
        wait_until(lambda: _up(f"http://127.0.0.1:{port}/jobs/1"), "the bare endpoint")
        yield f"http://127.0.0.1:{port}/jobs/1", process.popen.pid
    finally:
        process.kill()


def _up(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False

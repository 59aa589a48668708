"""Processes and servers of one's own: PostgreSQL, Redis, a small disk."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

# A limit shows that something will not come; a busy machine may be this slow.
PATIENCE_SECONDS = 900.0


class Process:
    """A process that is started again whenever it has ended."""

    def __init__(self, command: list[str], log: Path, **options: Any) -> None:  # noqa: ANN401 - those of Popen
        self._command = command
        self._log = log
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._began_at = log.tell()
            self.popen = subprocess.Popen(
                self._command, stdout=log, stderr=log, **self._options
            )

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        self.popen.kill()
        self.popen.wait()

    def has_logged(self, text: str) -> bool:
        """Tell whether it has logged a text since it was started."""
        with self._log.open("rb") as log:
            log.seek(self._began_at)
            return text.encode() in log.read()

    def ensure(self) -> None:
        """Start it if it has ended."""
        if self.popen.poll() is not None:
            self.start()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Postgres:
    """A PostgreSQL cluster of one's own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
        options: dict[str, Any] = {}
        folder.mkdir()
        if os.geteuid() == 0:  # it refuses to run as root
            options = {"user": "postgres", "cwd": "/"}
            shutil.chown(folder, "postgres")
        data = folder / "data"
        setup = [
            str(binaries / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "--auth=trust",
        ]
        subprocess.run(setup, check=True, stdout=subprocess.DEVNULL, **options)
        command = [
            str(binaries / "postgres"),
            "-D",
            str(data),
            "-p",
            str(self.port),
            "-k",
            str(folder),
        ]
        self.process = Process(command, folder.parent / "postgres.log", **options)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        wait_until(self.answers, "PostgreSQL")

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1),
        ):
            return True
        return False

    def stop(self) -> None:
        """End it at once; it recovers from its log when it is started again."""
        while self.process.popen.poll() is None:
            # a server that only just starts does not receive it
            self.process.popen.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.process.popen.wait(1)


class Redis:
    """A Redis server of one's own that remembers nothing."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        folder.mkdir()
        command = [
            "redis-server",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(folder),
        ]
        self.process = Process(command, folder.parent / "redis.log")
        self.url = f"redis://127.0.0.1:{port}/0"
        wait_until(self._answers, "Redis")

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False

    def flush(self) -> None:
        """Forget every message."""
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            client.flushall()

    def limit(self, most_bytes: int) -> None:
        """Bound its memory; 0 is no bound."""
        with suppress(redis.ConnectionError), redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", most_bytes)


def wait_until(
    condition: Callable[[], Any], event: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {event}")
        time.sleep(0.05)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a disk of 160 MB under a folder."""
    subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)],
        check=True,
    )
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)

"""A service in processes of its own, with its servers: faults can be injected into each."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil

from running.servers import Postgres, Process, Redis, free_port, small_disk, wait_until

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.service import fake_engine

from app.db.migrations import migrate

MODEL = bytes([0x08, 0x0A, 0x3A, 0x00])
# Long enough that a worker on a busy machine renews it in time.
LEASE_SECONDS = 5.0
ANSWER_SECONDS = 60.0
START = """
import datetime, sys
import app.db.session

class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=float(open({clock!r}).read() or 0))

if not {servers}:
    app.db.session.datetime = Clock  # what SQLite is told of the time; PostgreSQL has its own
"""
API = (
    START
    + "import uvicorn; "
    + "uvicorn.run('app.main:create_app', factory=True, port={port}, log_config=None)"
)
WORKER = (
    START
    + """
from pathlib import Path
from worker.sandbox import doctor, run as sandbox
product_confined = doctor.confined
# The sandbox is the real one, but for a child that may read its own file, which lies outside of the
# installation.
def confined(home, readable, **rest):
    return product_confined(home, readable=(*readable, Path({engine!r})), **rest)
doctor.confined = confined
sandbox.ENGINE = (sys.executable, {engine!r})
from worker.celery_app import run_worker
sys.exit(run_worker())
"""
)


class Fleet:
    """An API, its workers and their servers, and the faults that can be injected into them."""

    def __init__(
        self, folder: Path, *, servers: bool, disk: bool, workers: int = 2
    ) -> None:
        disk_folder = folder / "disk"
        disk_folder.mkdir()
        self.stack = ExitStack()
        if disk:
            self.stack.enter_context(small_disk(disk_folder))
        self.folder = folder
        self.data = disk_folder / "data"
        self.data.mkdir()
        self.postgres = Postgres(folder / "postgres") if servers else None
        self.redis = Redis(folder / "redis") if servers else None
        self.url = (
            self.postgres.url
            if self.postgres
            else f"sqlite:///{self.data}/convpress.db"
        )
        migrate(self.url)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        settings = {
            "data_dir": str(self.data),
            "lease_seconds": str(LEASE_SECONDS),
            "sweep_seconds": "0.3",
            # The fake engine does not wait.
            "spare_child": "false",
            "database_url": self.url,
        } | ({"broker_url": self.redis.url} if self.redis else {})
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CONVPRESS_")
        }
        environment = inherited | {
            f"CONVPRESS_{name.upper()}": value for name, value in settings.items()
        }
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        constants = {
            "clock": str(self.clock),
            "port": port,
            "engine": fake_engine.__file__,
            "servers": servers,
        }
        start = lambda code, log: Process(  # noqa: E731
            [sys.executable, "-c", code.format(**constants)],
            folder / log,
            env=environment,
            # A scheduler that shares the processor among sessions then serves each alike.
            start_new_session=True,
        )
        self.api = start(API, "api.log")
        self.workers = [
            start(WORKER, f"worker{number + 1}.log") for number in range(workers)
        ]
        self.frozen: dict[int, float] = {}
        self.starved_until = 0.0
        self.wrong: list[str] = []

    def faults(
        self, *, disk: bool
    ) -> dict[str, tuple[int, Callable[[random.Random], None]]]:
        """Return the faults by name, each with its relative frequency."""
        known: dict[str, tuple[int, Callable[[random.Random], None]]] = {
            "child killed": (10, self.kill_child),
            "worker killed": (8, lambda dice: dice.choice(self.workers).kill()),
            "API killed": (6, lambda _: self.api.kill()),
            "worker frozen past its lease": (3, self.freeze),
            "keeper of a job signalled": (6, self.signal_keeper),
            "data folder away": (2, self.take_data_away),
            "artifact damaged": (4, self.damage_artifact),
            "worker told to end": (
                3,
                lambda dice: dice.choice(self.workers).popen.terminate(),
            ),
        }
        if self.redis:
            known["Redis flushed"] = (3, lambda _: self.redis and self.redis.flush())
            known["Redis out of memory"] = (3, self.starve_redis)
            known["Redis killed"] = (
                2,
                lambda _: self.redis and self.redis.process.kill(),
            )
            known["PostgreSQL restarted"] = (
                2,
                lambda _: self.postgres and self.postgres.stop(),
            )
            known["PostgreSQL away for ten seconds"] = (1, self.database_away)
        else:
            known["clock jumps"] = (
                3,
                lambda dice: self.set_clock(dice.choice([-7200, -60, 0, 60, 7200])),
            )
        if disk:
            known["disk full"] = (3, self.fill_disk)
        return known

    def kill_child(self, dice: random.Random) -> None:
        """Kill a job's process, if there is one."""
        children = [
            child for worker in self.workers for child in children_of(worker.popen.pid)
        ]
        if children:
            with suppress(psutil.NoSuchProcess):
                dice.choice(children).kill()

    def signal_keeper(self, dice: random.Random) -> None:
        """Send a signal to the process that guards a job's, if there is one."""
        keepers = [
            keeper
            for worker in self.workers
            for keeper in children_of(worker.popen.pid, recursive=False)
        ]
        if keepers:
            number = dice.choice(
                [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP]
            )
            with suppress(psutil.NoSuchProcess):
                dice.choice(keepers).send_signal(number)

    def take_data_away(self, dice: random.Random) -> None:
        """Move the data folder away for a moment in which no process is started."""
        self.wait_until_up()
        away = self.data.with_name("away")
        self.data.rename(away)
        time.sleep(dice.uniform(0.5, 3))
        if self.data.exists():
            self.wrong.append("the data folder was made again while it was away")
            shutil.rmtree(self.data)
        away.rename(self.data)

    def damage_artifact(self, dice: random.Random) -> None:
        """Change the last byte of an artifact, fetch it, and put the byte back."""
        self.wait_until_up()
        files = (self.data / "storage" / "artifacts").glob("*/*")
        # The others are reports.
        artifacts = [path for path in files if path.read_bytes()[:1] == MODEL[:1]]
        if not artifacts:
            return
        path = dice.choice(artifacts)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        url = f"{self.base_url}/jobs/{path.parent.name}/artifact"
        for headers in ({}, {"Range": "bytes=0-0"}):
            with suppress(httpx.TransportError):
                response = httpx.get(url, headers=headers, timeout=ANSWER_SECONDS)
                if response.is_success:
                    self.wrong.append(f"a damaged artifact was sent: {url} {headers}")
        path.write_bytes(content)

    def wait_until_up(self) -> None:
        """Wait until all processes work."""

        def is_up() -> bool:
            self.tend()
            ready = all(worker.has_logged(" ready.") for worker in self.workers)
            return ready and not self.frozen and answers(self.base_url)

        wait_until(is_up, "all processes to work")

    def starve_redis(self, dice: random.Random) -> None:
        """Leave Redis no memory for a while."""
        assert self.redis
        self.redis.limit(1)
        self.starved_until = time.monotonic() + dice.uniform(2, 8)

    def freeze(self, dice: random.Random) -> None:
        """Stop a worker for longer than its lease."""
        worker = dice.choice(self.workers)
        if worker.popen.poll() is None:
            worker.popen.send_signal(signal.SIGSTOP)
            self.frozen[worker.popen.pid] = time.monotonic() + 1.5 * LEASE_SECONDS

    def database_away(self, _: random.Random) -> None:
        """Let nobody reach PostgreSQL for a while."""
        assert self.postgres
        self.postgres.stop()
        time.sleep(10)

    def set_clock(self, seconds: float) -> None:
        """Put the machine's clock wrong."""
        part = self.clock.with_suffix(".part")
        part.write_text(str(seconds))
        part.replace(self.clock)

    def fill_disk(self, _: random.Random) -> None:
        """Leave no byte free for a second."""
        filler = self.data / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1024 * 1024))
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        time.sleep(1)
        filler.unlink()

    def tend(self) -> None:
        """Start what has ended, and let go of what was frozen for long enough."""
        if self.postgres:
            self.postgres.process.ensure()
        if self.redis:
            self.redis.process.ensure()
            if self.starved_until and time.monotonic() > self.starved_until:
                self.redis.limit(0)
                self.starved_until = 0.0
        for pid, until in list(self.frozen.items()):
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                del self.frozen[pid]
        for process in (self.api, *self.workers):
            process.ensure()

    def end(self) -> None:
        """End all processes."""
        for process in (self.api, *self.workers):
            process.kill()
        if self.redis:
            self.redis.process.kill()
        if self.postgres:
            self.postgres.stop()
        self.stack.close()


def children_of(pid: int, *, recursive: bool = True) -> list[psutil.Process]:
    """Return a process's children; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


def answers(base_url: str) -> bool:
    """Tell whether the API is up."""
    try:
        return httpx.get(f"{base_url}/readyz", timeout=ANSWER_SECONDS).is_success
    except httpx.TransportError:
        return False

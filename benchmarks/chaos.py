"""A service under blows: processes killed and frozen, servers flushed, stopped and restarted, disks full, clocks wrong.

    python benchmarks/chaos.py [--servers] [--jobs 200] [--blows 100] [--seed 0] [--output figures.json]

An API and two workers run as processes of their own, on SQLite and a folder or, with --servers, on a PostgreSQL and a
Redis of their own; children speak like the engine without its work. Jobs are posted, each under a key until it is
accepted, and some are followed by their events; at random moments a blow falls. Then everything is left to come to an
end, and it is asked whether every accepted job has ended exactly once, every artifact is what its job says, no file is
without its row, and no event was lost. It exits with 1 and says what is wrong if not. As root it also fills the disk.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import fake_engine

from app.migrations import migrate
from app.models import TERMINAL, Event, Job
from app.settings import get_settings
from app.storage.local import LocalStorage
from worker import expiry
from worker.scratch import scratch_root

MODEL = bytes([0x08, 0x0A, 0x3A, 0x00])
LEASE_SECONDS = 2.0
START = """
import datetime, sys
import app.db

class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=float(open({clock!r}).read() or 0))

if not {servers}:
    app.db.datetime = Clock  # what SQLite is told of the time; PostgreSQL has its own
"""
API = START + "import uvicorn; uvicorn.run('app.main:create_app', factory=True, port={port}, log_config=None)"
WORKER = (
    START
    + """
from pathlib import Path
from worker import doctor, sandbox
cell = doctor.confined
# The cell is the real one, but for a child that may read its own file, which lies outside of the installation.
doctor.confined = lambda home, readable, **rest: cell(home, readable=(*readable, Path({engine!r})), **rest)
sandbox.ENGINE = (sys.executable, {engine!r})
from worker.celery_app import run_worker
sys.exit(run_worker())
"""
)


class Process:
    """A process that is started again whenever it has ended."""

    def __init__(self, command: list[str], log: Path, **options: Any) -> None:  # noqa: ANN401 - those of Popen
        self._command, self._log, self._options = command, log, options
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(self._command, stdout=log, stderr=log, **self._options)

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        self.popen.kill()
        self.popen.wait()

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
        setup = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust"]
        subprocess.run(setup, check=True, stdout=subprocess.DEVNULL, **options)
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port), "-k", str(folder)]
        self.process = Process(command, folder.parent / "postgres.log", **options)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        wait_until(self.answers, "PostgreSQL")

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End it at once; it recovers from its log when it is started again."""
        self.process.popen.send_signal(signal.SIGQUIT)
        self.process.popen.wait()


class Redis:
    """A Redis server of one's own that remembers nothing."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        folder.mkdir()
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
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


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(0.05)


class Fleet:
    """An API and its workers, with what they run on, and the blows that can be dealt to them."""

    def __init__(self, folder: Path, *, servers: bool, disk: bool, workers: int = 2) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        self.stack = ExitStack()
        if disk:
            self.stack.enter_context(small_disk(self.data))
        self.postgres = Postgres(folder / "postgres") if servers else None
        self.redis = Redis(folder / "redis") if servers else None
        self.url = self.postgres.url if self.postgres else f"sqlite:///{self.data}/convpress.db"
        migrate(self.url)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        settings = {
            "data_dir": str(self.data),
            "lease_seconds": str(LEASE_SECONDS),
            "sweep_seconds": "0.3",
            "database_url": self.url,
        } | ({"broker_url": self.redis.url} if self.redis else {})
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONVPRESS_")}
        environment = inherited | {f"CONVPRESS_{name.upper()}": value for name, value in settings.items()}
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        given = {"clock": str(self.clock), "port": port, "engine": fake_engine.__file__, "servers": servers}
        start = lambda code, log: Process([sys.executable, "-c", code.format(**given)], folder / log, env=environment)  # noqa: E731
        self.api = start(API, "api.log")
        self.workers = [start(WORKER, f"worker{number + 1}.log") for number in range(workers)]
        self.frozen: dict[int, float] = {}

    def blows(self, *, disk: bool) -> dict[str, tuple[int, Callable[[random.Random], None]]]:
        """Name the blows, with how often each falls beside the others."""
        known: dict[str, tuple[int, Callable[[random.Random], None]]] = {
            "child killed": (10, self.kill_child),
            "worker killed": (8, lambda dice: dice.choice(self.workers).kill()),
            "API killed": (6, lambda _: self.api.kill()),
            "worker frozen past its lease": (3, self.freeze),
            "worker told to end": (3, lambda dice: dice.choice(self.workers).popen.terminate()),
        }
        if self.redis:
            known["Redis flushed"] = (3, lambda _: self.redis and self.redis.flush())
            known["Redis killed"] = (2, lambda _: self.redis and self.redis.process.kill())
            known["PostgreSQL restarted"] = (2, lambda _: self.postgres and self.postgres.stop())
            known["PostgreSQL away for ten seconds"] = (1, self.database_away)
        else:
            known["clock jumps"] = (3, lambda dice: self.set_clock(dice.choice([-7200, -60, 0, 60, 7200])))
        if disk:
            known["disk full"] = (3, self.fill_disk)
        return known

    def kill_child(self, dice: random.Random) -> None:
        """Kill a job's process, if there is one."""
        children = [child for worker in self.workers for child in children_of(worker.popen.pid)]
        if children:
            with suppress(psutil.NoSuchProcess):
                dice.choice(children).kill()

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


def children_of(pid: int) -> list[psutil.Process]:
    """Return a process's children; none if it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a disk of 160 MB under a folder."""
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


class Client(threading.Thread):
    """Posts jobs, each until it is accepted, and follows every tenth by its events until it has ended."""

    def __init__(self, base_url: str, jobs: int, pause: float, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._base_url, self._jobs, self._pause, self._dice = base_url, jobs, pause, dice
        self.accepted: list[str] = []
        self.wrong: list[str] = []
        self.refused = Counter[int]()
        self.heard: dict[str, list[int]] = {}
        self._followers: list[threading.Thread] = []

    def run(self) -> None:
        """Post them all."""
        with httpx.Client(base_url=self._base_url, timeout=10) as http:
            for number in range(self._jobs):
                job_id = self._post(http)
                self.accepted.append(job_id)
                if number % 10 == 0:
                    follower = threading.Thread(target=self._follow, args=(job_id,), daemon=True)
                    follower.start()
                    self._followers.append(follower)
                time.sleep(self._pause)
        for follower in self._followers:
            follower.join()

    def _post(self, http: httpx.Client) -> str:
        naps = f"nap={self._dice.randint(1, 1500)}"
        behaviour = self._dice.choices([naps, "die=1", "refuse=1"], [90, 4, 6])[0]
        form = {"flops_budget": "0.5", "input_shape": behaviour, "labels": f"number={len(self.accepted)}"}
        headers = {"Idempotency-Key": uuid.UUID(int=self._dice.getrandbits(128)).hex}
        length = self._dice.randint(0, 20)  # of the producer's name, so that there are some models
        model = MODEL[:2] + b"\x12" + bytes([length]) + b"x" * length + MODEL[2:]
        while True:
            with suppress(httpx.TransportError):
                response = http.post("/jobs", data=form, files={"model": ("net.onnx", model)}, headers=headers)
                if response.status_code == httpx.codes.ACCEPTED:
                    return str(response.json()["id"])
                self.refused[response.status_code] += 1
                if response.status_code not in (503, 507):
                    self.wrong.append(f"a job was refused: {response.text}")
            time.sleep(0.1)

    def _follow(self, job_id: str) -> None:
        """Collect the ids of a job's events, over as many connections as it takes."""
        heard = self.heard.setdefault(job_id, [])
        while True:
            headers = {"Last-Event-ID": str(heard[-1])} if heard else {}
            with (
                suppress(httpx.TransportError),
                httpx.stream("GET", f"{self._base_url}/jobs/{job_id}/events", headers=headers, timeout=30) as response,
            ):
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                if response.status_code == httpx.codes.OK:
                    heard.extend(int(line[4:]) for line in response.iter_lines() if line.startswith("id: "))
            time.sleep(0.1)


def run(folder: Path, *, servers: bool, jobs: int, blows: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Post jobs and deal blows; return the figures, and what went wrong in words."""
    disk = os.geteuid() == 0 and Path("/bin/mount").exists() and jobs >= 100
    dice = random.Random(seed)
    fleet = Fleet(folder, servers=servers, disk=disk)
    began = time.monotonic()
    try:
        wait_until(lambda: answers(fleet.base_url), "the API")
        pause = 1.2 * blows / jobs
        client = Client(fleet.base_url, jobs, pause, random.Random(seed + 1))
        client.start()
        known = fleet.blows(disk=disk)
        dealt = Counter[str]()
        while dealt.total() < blows:
            time.sleep(dice.uniform(0.2, 1.5))
            fleet.tend()
            [blow] = dice.choices(list(known), [often for often, _ in known.values()])
            known[blow][1](dice)
            dealt[blow] += 1
        fleet.set_clock(0)
        engine = create_engine(fleet.url, pool_pre_ping=True)
        settle(fleet, client, engine)
        took = time.monotonic() - began
        wrong = [*client.wrong, *judge_jobs(client, engine), *judge_files(fleet, engine)]
        figures = count(client, engine) | {
            "blows": dict(dealt),
            "refused": dict(client.refused),
            "seconds": round(took),
        }
        engine.dispose()
        return figures, wrong
    finally:
        fleet.end()


def answers(base_url: str) -> bool:
    """Tell whether the API is up."""
    try:
        return httpx.get(f"{base_url}/readyz").is_success
    except httpx.TransportError:
        return False


def settle(fleet: Fleet, client: Client, engine: Engine) -> None:
    """Leave the service in peace until all jobs have been posted and have ended, and nobody works any more."""

    def done() -> bool:
        fleet.tend()
        if client.is_alive() or fleet.frozen:
            return False
        try:
            with Session(engine) as session:
                if session.scalar(select(Job.id).where(Job.state.not_in(TERMINAL)).limit(1)):
                    return False
        except OperationalError:
            return False  # PostgreSQL still recovers
        return not any(children_of(worker.popen.pid) for worker in fleet.workers)

    wait_until(done, "all jobs to end", 300)


def judge_jobs(client: Client, engine: Engine) -> Iterator[str]:
    """Say which job has not ended once, has the wrong artifact or was told wrongly."""
    base_url = client._base_url
    with Session(engine) as session:
        jobs = {str(job.id): job for job in session.scalars(select(Job))}
        events: dict[str, list[Event]] = {}
        for event in session.scalars(select(Event).order_by(Event.id)):
            events.setdefault(str(event.job_id), []).append(event)
    if len(client.accepted) != len(set(client.accepted)) or set(client.accepted) != set(jobs):
        yield f"{len(client.accepted)} jobs were accepted and {len(jobs)} are known"
    for job_id in client.accepted:
        job, told = jobs[job_id], events[job_id]
        ends = [event.state for event in told if event.state in TERMINAL]
        if ends != [job.state] or told[-1].state != job.state:
            yield f"{job_id} is {job.state} after {[event.state for event in told]}"
        if job.state == "failed" and job.error and job.error["code"] not in allowed(job):
            yield f"{job_id} failed: {job.error}"
        if job.state == "succeeded":
            response = httpx.get(f"{base_url}/jobs/{job_id}/artifact")
            if hashlib.sha256(response.content).hexdigest() != job.artifact_sha256:
                yield f"{job_id} has another artifact than it says: {response.status_code}"
    meant = [job for job in jobs.values() if job.input_shape not in ("die=1", "refuse=1")]
    if 2 * sum(job.state == "succeeded" for job in meant) < len(meant):
        yield f"hardly any job succeeded, so nothing is proved: {Counter(job.state for job in meant)}"
    for job_id, heard in client.heard.items():
        if heard != [event.id for event in events[job_id]]:
            yield f"{job_id} was told as {heard}, not {[event.id for event in events[job_id]]}"


def allowed(job: Job) -> set[str]:
    """Return how a job may fail: as it was made to, or when three attempts were taken from it."""
    if job.input_shape == "refuse=1":
        return {"budget_unreachable", "worker_lost"}
    return {"worker_lost", "storage_full"} if job.attempt >= 3 else set()


@contextmanager
def _settings_of(fleet: Fleet) -> Iterator[None]:
    """Let this process read the fleet's settings, and its own again afterwards."""
    before = dict(os.environ)
    os.environ |= {"CONVPRESS_DATABASE_URL": fleet.url, "CONVPRESS_DATA_DIR": str(fleet.data)}
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
        get_settings.cache_clear()


def judge_files(fleet: Fleet, engine: Engine) -> Iterator[str]:
    """Say which file lies where no row knows it, after one more sweep, and which is missing."""
    storage = LocalStorage(fleet.data / "storage")
    found = set(storage.keys("models/")) | set(storage.keys("artifacts/"))
    with Session(engine) as session:
        jobs = session.scalars(select(Job)).all()
        known = {f"models/{job.model_sha256}" for job in jobs} | {
            f"artifacts/{job.id}/{sha256}"
            for job in jobs
            for sha256 in (job.artifact_sha256, job.report_sha256)
            if sha256
        }
    with _settings_of(fleet):
        orphans = expiry.remove_orphans(storage)
    if orphans != len(found - known):
        yield f"the sweep removed {orphans} files and there were {len(found - known)} without a row"
    if left := (set(storage.keys("models/")) | set(storage.keys("artifacts/"))) ^ known:
        yield f"files without rows, or rows without files: {sorted(left)}"
    wait_until(
        lambda: not [*storage.staging.iterdir(), *scratch_root(fleet.data).iterdir()], "the workers' own sweep", 10
    )


def count(client: Client, engine: Engine) -> dict[str, Any]:
    """Return what has become of the jobs."""
    with Session(engine) as session:
        jobs = session.scalars(select(Job)).all()
    return {
        "jobs": len(client.accepted),
        "states": dict(Counter(job.state for job in jobs)),
        "errors": dict(Counter(job.error["code"] for job in jobs if job.error)),
        "attempts": dict(Counter(job.attempt for job in jobs)),
        "events followed": sum(map(len, client.heard.values())),
    }


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", action="store_true", help="PostgreSQL and Redis instead of SQLite and a folder")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--blows", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        figures, wrong = run(Path(folder), servers=given.servers, jobs=given.jobs, blows=given.blows, seed=given.seed)
        if wrong:
            shutil.copytree(folder, f"chaos-{given.seed}", ignore=shutil.ignore_patterns("data", "postgres"))
    for name, value in figures.items():
        print(f"{name:16} {value}")
    print("\n".join(wrong) or "every job ended once, every artifact is right, no file is orphaned, no event was lost")
    if given.output:
        given.output.write_text(json.dumps(figures | {"wrong": wrong}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

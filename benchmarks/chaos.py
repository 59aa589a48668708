"""A service with faults in its processes, servers, disks and clocks.

    python benchmarks/chaos.py [--servers] [--jobs 200] [--faults 100] [--seed 0]
        [--output figures.json]

An API and two workers run as processes of their own, on SQLite and a folder or, with --servers, on
a PostgreSQL and a Redis of their own; children speak like the engine without its work. Jobs are
posted, each under a key until it is accepted, and some are followed by their events. At random
moments a fault is injected: processes are killed and frozen, servers flushed, stopped, restarted
and left without memory, disks filled, clocks set wrong, the data folder moved away and back,
artifacts damaged, keepers of jobs signalled. When all is done, it checks that every accepted job
has ended exactly once, every artifact is what its job says, no file is without its row, no event
was lost, no damaged artifact was sent and no process is left. It exits with 1 and says what is
wrong if not. As root it also fills the disk.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from running.fleet import ANSWER_SECONDS, MODEL, Fleet, answers, children_of
from running.servers import wait_until
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.models import Event, Job
from app.settings import get_settings
from app.storage.local import LocalStorage
from convpress.states import TERMINAL
from worker.queue import retention
from worker.sandbox.scratch import scratch_root

# All jobs, however many attempts they take, on a busy machine.
SETTLING_SECONDS = 3600.0


class Client(threading.Thread):
    """Posts jobs, each until it is accepted, and follows every tenth by its events to its end."""

    def __init__(
        self, base_url: str, jobs: int, pause: float, dice: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self._base_url = base_url
        self._jobs = jobs
        self._pause = pause
        self._dice = dice
        self.accepted: list[str] = []
        self.wrong: list[str] = []
        self.refused = Counter[int]()
        self.heard: dict[str, list[int]] = {}
        self._followers: list[threading.Thread] = []

    def run(self) -> None:
        """Post them all."""
        with httpx.Client(base_url=self._base_url, timeout=ANSWER_SECONDS) as http:
            for number in range(self._jobs):
                job_id = self._post(http)
                self.accepted.append(job_id)
                if number % 10 == 0:
                    follower = threading.Thread(
                        target=self._follow, args=(job_id,), daemon=True
                    )
                    follower.start()
                    self._followers.append(follower)
                time.sleep(self._pause)
        for follower in self._followers:
            follower.join()

    def _post(self, http: httpx.Client) -> str:
        naps = f"nap={self._dice.randint(1, 1500)}"
        behaviour = self._dice.choices([naps, "die=1", "refuse=1"], [90, 4, 6])[0]
        form = {
            "flops_budget": "0.5",
            "input_shape": behaviour,
            "labels": f"number={len(self.accepted)}",
        }
        headers = {"Idempotency-Key": uuid.UUID(int=self._dice.getrandbits(128)).hex}
        length = self._dice.randint(
            0, 20
        )  # of the producer's name, so that there are some models
        model = MODEL[:2] + b"\x12" + bytes([length]) + b"x" * length + MODEL[2:]
        while True:
            with suppress(httpx.TransportError):
                response = http.post(
                    "/jobs",
                    data=form,
                    files={"model": ("net.onnx", model)},
                    headers=headers,
                )
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
                httpx.stream(
                    "GET",
                    f"{self._base_url}/jobs/{job_id}/events",
                    headers=headers,
                    timeout=ANSWER_SECONDS,
                ) as response,
            ):
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                if response.status_code == httpx.codes.OK:
                    heard.extend(
                        int(line[4:])
                        for line in response.iter_lines()
                        if line.startswith("id: ")
                    )
            time.sleep(0.1)


def run(
    folder: Path, *, servers: bool, jobs: int, faults: int, seed: int
) -> tuple[dict[str, Any], list[str]]:
    """Post jobs and inject faults; return the figures, and what went wrong in words."""
    disk = os.geteuid() == 0 and Path("/bin/mount").exists() and jobs >= 100
    dice = random.Random(seed)
    fleet = Fleet(folder, servers=servers, disk=disk)
    began = time.monotonic()
    try:
        wait_until(lambda: answers(fleet.base_url), "the API")
        pause = 1.2 * faults / jobs
        client = Client(fleet.base_url, jobs, pause, random.Random(seed + 1))
        client.start()
        known = fleet.faults(disk=disk)
        injected = Counter[str]()
        while injected.total() < faults:
            time.sleep(dice.uniform(0.2, 1.5))
            fleet.tend()
            # Each kind comes once at least, if there are as many faults as kinds.
            missing = [name for name in known if not injected[name]]
            kinds = (
                missing if faults - injected.total() <= len(missing) else list(known)
            )
            [fault] = dice.choices(kinds, [known[name][0] for name in kinds])
            known[fault][1](dice)
            injected[fault] += 1
        fleet.set_clock(0)
        engine = create_engine(fleet.url, pool_pre_ping=True)
        settle(fleet, client, engine)
        took = time.monotonic() - began
        wrong = [
            *client.wrong,
            *fleet.wrong,
            *judge_jobs(client, engine),
            *judge_files(fleet, engine),
            *judge_processes(fleet),
        ]
        figures = count(client, engine) | {
            "faults": dict(injected),
            "refused": dict(client.refused),
            "seconds": round(took),
        }
        engine.dispose()
        return figures, wrong
    finally:
        fleet.end()


def settle(fleet: Fleet, client: Client, engine: Engine) -> None:
    """Wait without faults until all jobs have been posted and have ended, and no worker is busy."""

    def done() -> bool:
        fleet.tend()
        is_busy = client.is_alive() or fleet.frozen or fleet.starved_until
        if is_busy or not answers(fleet.base_url):
            return False
        try:
            with Session(engine) as session:
                if session.scalar(
                    select(Job.id).where(Job.state.not_in(TERMINAL)).limit(1)
                ):
                    return False
        except OperationalError:
            return False  # PostgreSQL still recovers
        return not any(children_of(worker.popen.pid) for worker in fleet.workers)

    wait_until(done, "all jobs to end", SETTLING_SECONDS)


def judge_jobs(client: Client, engine: Engine) -> Iterator[str]:
    """Say which job has not ended once, has the wrong artifact or was told wrongly."""
    base_url = client._base_url
    with Session(engine) as session:
        jobs = {str(job.id): job for job in session.scalars(select(Job))}
        events: dict[str, list[Event]] = {}
        for event in session.scalars(select(Event).order_by(Event.id)):
            events.setdefault(str(event.job_id), []).append(event)
    if len(client.accepted) != len(set(client.accepted)) or set(client.accepted) != set(
        jobs
    ):
        yield f"{len(client.accepted)} jobs were accepted and {len(jobs)} are known"
    for job_id in client.accepted:
        job = jobs[job_id]
        job_events = events[job_id]
        ends = [event.state for event in job_events if event.state in TERMINAL]
        if ends != [job.state] or job_events[-1].state != job.state:
            yield f"{job_id} is {job.state} after {[event.state for event in job_events]}"
        if (
            job.state == "failed"
            and job.error
            and job.error["code"] not in allowed(job)
        ):
            yield f"{job_id} failed: {job.error}"
        if job.state == "succeeded":
            response = httpx.get(
                f"{base_url}/jobs/{job_id}/artifact", timeout=ANSWER_SECONDS
            )
            if hashlib.sha256(response.content).hexdigest() != job.artifact_sha256:
                yield f"{job_id} has another artifact than it says: {response.status_code}"
    meant = [
        job for job in jobs.values() if job.input_shape not in ("die=1", "refuse=1")
    ]
    if 2 * sum(job.state == "succeeded" for job in meant) < len(meant):
        states = Counter(job.state for job in meant)
        yield f"hardly any job succeeded, so nothing is proved: {states}"
    for job_id, heard in client.heard.items():
        if heard != [event.id for event in events[job_id]]:
            yield f"{job_id} was told as {heard}, not {[event.id for event in events[job_id]]}"


def allowed(job: Job) -> set[str]:
    """Return the codes a job may fail with: its own fault, or the loss of three attempts."""
    if job.input_shape == "refuse=1":
        return {"budget_unreachable", "worker_lost"}
    # At its last attempt a clock that jumps may end it, as a kill may.
    last = {"worker_lost", "job_timeout", "storage_full"}
    return last if job.attempt >= 3 else set()


@contextmanager
def _settings_of(fleet: Fleet) -> Iterator[None]:
    """Let this process read the fleet's settings, and its own again afterwards."""
    before = dict(os.environ)
    os.environ |= {
        "CONVPRESS_DATABASE_URL": fleet.url,
        "CONVPRESS_DATA_DIR": str(fleet.data),
    }
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
    stored = set(storage.keys("models/")) | set(storage.keys("artifacts/"))
    with Session(engine) as session:
        jobs = session.scalars(select(Job)).all()
        known = {f"models/{job.model_sha256}" for job in jobs} | {
            f"artifacts/{job.id}/{sha256}"
            for job in jobs
            for sha256 in (job.artifact_sha256, job.report_sha256)
            if sha256
        }
    with _settings_of(fleet):
        orphans = retention.remove_orphans(storage)
    unknown = len(stored - known)
    if orphans != unknown:
        yield f"the sweep removed {orphans} files and there were {unknown} without a row"
    if left := (set(storage.keys("models/")) | set(storage.keys("artifacts/"))) ^ known:
        yield f"files without rows, or rows without files: {sorted(left)}"
    wait_until(
        lambda: not [*storage.staging.iterdir(), *scratch_root(fleet.data).iterdir()],
        "the workers' own sweep",
    )


def judge_processes(fleet: Fleet) -> Iterator[str]:
    """Say which process of a job is left, though no job runs any more."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(fleet.data / "scratch") in word for word in words):
            yield f"a process has outlived its job: {process.pid} {words[:4]}"


def count(client: Client, engine: Engine) -> dict[str, Any]:
    """Return the state of every job."""
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
    """Run the jobs and the blows, and print the outcomes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--servers",
        action="store_true",
        help="PostgreSQL and Redis instead of SQLite and a folder",
    )
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL's own user has to get in
        figures, wrong = run(
            Path(folder),
            servers=arguments.servers,
            jobs=arguments.jobs,
            faults=arguments.faults,
            seed=arguments.seed,
        )
        if wrong:
            shutil.copytree(
                folder,
                f"chaos-{arguments.seed}",
                ignore=shutil.ignore_patterns("data", "postgres"),
            )
    for name, value in figures.items():
        print(f"{name:16} {value}")
    print(
        "\n".join(wrong)
        or "every job ended once, every artifact is right, no file is orphaned, no event was lost"
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures | {"wrong": wrong}, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

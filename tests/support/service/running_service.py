"""The whole service as its user starts it: `convpress serve` in a process of its own, watched down
to its children.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from digits import MODELS
from sqlalchemy import create_engine, update

from app.db.models import Job
from support.service.databases import put_migrated_database
from worker.sandbox import launcher, run

ENGINE = run.ENGINE[-1]
"""The module of a process that works on a job."""


@dataclass
class Service:
    """A running service: an HTTP client for it, and its processes."""

    http: httpx.Client
    process: subprocess.Popen[bytes]
    data_dir: Path

    def post(self, name: str = "residual.onnx", **fields: str) -> dict[str, Any]:
        with (MODELS / name).open("rb") as file:
            form = {"flops_budget": "0.5", "calibration": "none"} | fields
            return self.http.post(
                "/jobs", data=form, files={"model": (name, file)}
            ).json()

    def job(self, job_id: str) -> dict[str, Any]:
        return self.http.get(f"/jobs/{job_id}").json()

    def wait(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end; the service answers when there is news, and is not asked for it."""
        ask = lambda: self.http.get(f"/jobs/{job_id}", params={"wait": 30}).json()  # noqa: E731
        return wait_for(lambda: (job := ask())["finished_at"] and job, "the job's end")

    def post_and_catch(
        self, name: str = "residual.onnx", **fields: str
    ) -> tuple[dict[str, Any], psutil.Process]:
        """Post jobs until one is caught at work; return it and the engine's process, which is
        stopped: it is still at work when the test acts.
        """

        def catch() -> tuple[dict[str, Any], psutil.Process] | None:
            before = {child.pid for child in self.children(ENGINE)}
            job = self.post(name, **fields)
            while not self.job(job["id"])["finished_at"]:
                for child in self.children(ENGINE):
                    if child.pid not in before and self.stop(child, job["id"]):
                        return job, child
                time.sleep(0.02)
            return None

        return wait_for(catch, "an engine child")

    def stop(self, child: psutil.Process, job_id: str) -> bool:
        """Stop a child that runs a job, unless it is done with it; return whether it is stopped."""
        try:
            child.suspend()
        except psutil.NoSuchProcess:
            return False
        if self.job(job_id)["state"] == "running" and not is_dead(child):
            return True
        with suppress(psutil.NoSuchProcess):
            child.resume()
        return False

    def end_lease(self, job_id: str) -> None:
        """Let a running job's lease be over, as it is half a minute after its worker's death."""
        engine = create_engine(
            f"sqlite:///{self.data_dir}/convpress.db", connect_args={"timeout": 60}
        )
        with engine.begin() as connection:
            running = update(Job).where(
                Job.id == uuid.UUID(job_id), Job.state == "running"
            )
            connection.execute(
                running.values(
                    lease_expires_at=datetime.now(UTC) - timedelta(seconds=1)
                )
            )
        engine.dispose()

    def children(self, module: str) -> list[psutil.Process]:
        """The processes below the service that run a module, without the keepers of their cells."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [
            child
            for child in below
            if module in (command := command_of(child))
            and launcher.__file__ not in command
        ]


def command_of(process: psutil.Process) -> list[str]:
    """The command of a process; empty if it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def is_dead(process: psutil.Process) -> bool:
    """Whether a process has ended, also where it ends while that is asked for."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], Any], event: str, seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {event}"
        time.sleep(0.02)
    return result


def free_port() -> int:
    """A port on which nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    data_dir: Path,
    command: tuple[str, ...] = ("serve",),
    program: tuple[str, ...] = ("-m", "worker.cli"),
    **settings: str,
) -> Iterator[Service]:
    """Run the service until the block ends, then stop it as Ctrl-C does and see that nothing is
    left of it.
    """
    port = str(free_port())
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CONVPRESS_")
    }
    # Tests count the children that work, and a spare has the same command line.
    settings = {"spare_child": "false"} | settings
    environment |= {
        f"CONVPRESS_{name.upper()}": value for name, value in settings.items()
    }
    environment |= {"CONVPRESS_DATA_DIR": str(data_dir), "CONVPRESS_PORT": port}
    data_dir.mkdir(exist_ok=True)
    if "database_url" not in settings:
        put_migrated_database(data_dir / "convpress.db")
    with (
        (data_dir / "service.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, *program, *command],
            env=environment,
            stdout=log,
            stderr=log,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as http,
    ):
        service = Service(http, process, data_dir)
        try:
            wait_for(
                lambda: _ready(http) or process.poll() is not None,
                "the service to be ready",
            )
            assert process.poll() is None, (data_dir / "service.log").read_text()
            yield service
        finally:
            family = (
                psutil.Process(process.pid).children(recursive=True)
                if process.poll() is None
                else []
            )
            process.send_signal(signal.SIGINT)
            process.wait(600)
            wait_for(
                lambda: not any(child.is_running() for child in family),
                "all processes to end",
            )


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False

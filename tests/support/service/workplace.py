"""A database, a broker and a store with real Celery workers on them."""

import hashlib
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from sqlalchemy import create_engine, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.models import Job, Model
from app.jobs import commands
from app.queue import celery_client
from app.settings import Settings
from app.storage.local import LocalStorage
from support.service import fake_engine
from support.service.databases import put_migrated_database
from support.service.running_service import wait_for

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


WORKER = f"""
import sys
sys.path.append({str(Path(fake_engine.__file__).parent)!r})
import fake_engine
from worker.sandbox import doctor, run as sandbox
sandbox.ENGINE, doctor.confined = fake_engine.ENGINE, fake_engine.unconfined
from worker.celery_app import run_worker
sys.exit(run_worker())
"""


@dataclass
class Workplace:
    """A database, a broker and a store, and the workers that have been started on them."""

    settings: Settings
    environment: dict[str, str]
    log: Path
    workers: list[subprocess.Popen] = field(default_factory=list)

    def __post_init__(self):
        self.settings.data_dir.mkdir(exist_ok=True)
        if self.settings.database_url is None:
            put_migrated_database(self.settings.data_dir / "convpress.db")
        # SQLite's driver waits for a lock no longer than that by itself
        options = (
            {"options": "-c lock_timeout=5s"} if self.settings.database_url else {}
        )
        self.engine = create_engine(self.settings.sql_url, connect_args=options)
        self.storage = LocalStorage(self.settings.data_dir / "storage")
        self.sha256 = hashlib.sha256(ONNX).hexdigest()
        with self.storage.stage() as staged:
            staged.write(ONNX)
        self.storage.keep(Path(staged.name), f"models/{self.sha256}")
        with Session(self.engine) as session, session.begin():
            now = datetime.now(UTC)
            session.add(
                Model(
                    sha256=self.sha256,
                    format="onnx",
                    bytes=4,
                    created_at=now,
                    used_at=now,
                )
            )

    def start(self):
        """Start a worker and wait until it takes messages."""
        ready = self.log.read_text().count("ready.") if self.log.exists() else 0
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        wait_for(
            lambda: (
                worker.poll() is not None
                or self.log.read_text().count("ready.") > ready
            ),
            "a worker",
        )
        assert worker.poll() is None, self.log.read_text()
        return worker

    def freeze(self, worker):
        """Stop a worker, but not during a write: it would keep its locks."""
        while True:
            worker.send_signal(signal.SIGSTOP)
            try:
                with Session(self.engine) as session, session.begin():
                    session.execute(update(Job).values(filename=Job.filename))
            except OperationalError:
                worker.send_signal(signal.SIGCONT)
                time.sleep(0.1)
            else:
                return

    def post(self, behaviour=None, enqueued=True, age=timedelta(0)):
        job = Job(
            id=uuid.uuid4(),
            created_at=datetime.now(UTC) - age,
            model_sha256=self.sha256,
            filename="net.onnx",
            flops_budget="0.5",
            input_shape=behaviour,
        )
        with Session(self.engine) as session, session.begin():
            session.add(job)
            job_id = job.id
        if enqueued:
            celery_client._client(self.settings).send_task(
                celery_client.TASK, [str(job_id)]
            )
        return job_id

    def change(self, job_id, **columns):
        with Session(self.engine) as session, session.begin():
            session.execute(update(Job).where(Job.id == job_id).values(**columns))

    def end_lease(self, job_id):
        """Let a job's lease be over, as it is half a minute after its worker's death."""
        self.change(job_id, lease_expires_at=datetime.now(UTC) - timedelta(seconds=1))

    def cancel(self, job_id):
        with Session(self.engine) as session, session.begin():
            commands.cancel(session, str(job_id))

    def job(self, job_id):
        with Session(self.engine) as session:
            return session.get_one(Job, job_id)

    def wait(self, job_id, state="succeeded"):
        job = wait_for(
            lambda: (job := self.job(job_id)).state == state and job,
            f"a job to be {state}",
        )
        self.job(job_id)
        return job

    def wait_for_child(self, worker, job_id):
        """Wait until the child that a worker runs for a job has begun to sleep."""

        def sleeps():
            job = self.job(job_id)
            return job.phase == "factoring" and f":{worker.pid}:" in job.lease_owner

        wait_for(sleeps, "a child")
        [child] = psutil.Process(worker.pid).children()
        return child

    def claims(self, job_id):
        return sum(
            f'"{job_id}"' in line and '"claimed"' in line
            for line in self.log.read_text().splitlines()
        )


@contextmanager
def workplace_in(folder, **servers):
    settings = {
        "data_dir": str(folder / "data"),
        "lease_seconds": "60",
        "sweep_seconds": "0.3",
        # The fake engine does not wait.
        "spare_child": "false",
    } | servers
    environment = {
        f"CONVPRESS_{name.upper()}": value for name, value in settings.items()
    }
    place = Workplace(Settings(**settings), environment, folder / "log")
    yield place
    for worker in place.workers:
        worker.kill()
        worker.wait()
    place.engine.dispose()

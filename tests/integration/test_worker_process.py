"""Celery workers on files and on servers: whatever is killed or lost, every job ends once.

The children speak like the engine without its work, so that what is tested is the service around
them. `make test` loses a child, a worker and a message, on files or on servers; `make slow` has the
rest. Leases are longer than any test: a busy machine loses none, and a test that is about lost ones
ends them itself.
"""

import hashlib
import signal
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from support.service import fake_engine
from support.service.databases import put_migrated_database
from support.service.running_service import wait_for

from app.db.models import Job, Model
from app.jobs import commands
from app.queue import celery_client
from app.settings import Settings
from app.storage.local import LocalStorage

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


@pytest.fixture(params=["files", "servers"])
def workplace(request, tmp_path):
    """SQLite and a folder of messages, then PostgreSQL and Redis."""
    names = (
        {"database_url": "migrated_postgres_url", "broker_url": "redis_url"}
        if request.param == "servers"
        else {}
    )
    servers = {
        setting: request.getfixturevalue(fixture) for setting, fixture in names.items()
    }
    with workplace_in(tmp_path, **servers) as place:
        yield place


@pytest.fixture(scope="module", params=["files", "servers"])
def staffed(request, tmp_path_factory):
    """A workplace with one worker, for tests that leave both as they are."""
    with ExitStack() as stack:
        servers = {}
        if request.param == "servers":
            servers["database_url"] = stack.enter_context(
                request.getfixturevalue("postgres_database")(
                    request.getfixturevalue("migrated_postgres")
                )
            )
            servers["broker_url"] = stack.enter_context(
                request.getfixturevalue("redis_database")()
            )
        place = stack.enter_context(
            workplace_in(tmp_path_factory.mktemp("staffed"), **servers)
        )
        place.start()
        yield place
        assert [worker.poll() for worker in place.workers] == [None]


def is_dead(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_job_runs_within_a_second_of_its_ring(staffed):
    def delay():
        job = staffed.wait(staffed.post())
        return (job.started_at - job.created_at).total_seconds()

    # Any one of them, since the machine may be busy: one whose message is lost waits three seconds
    # for the sweeper.
    wait_for(lambda: delay() < 1, "a job that runs at once")


def test_a_job_whose_message_was_lost_is_done_all_the_same(staffed):
    assert (
        staffed.wait(staffed.post(enqueued=False, age=timedelta(minutes=1))).attempt
        == 1
    )


def test_a_killed_child_is_replaced(staffed, tmp_path):
    [worker] = staffed.workers
    job_id = staffed.post(f"once {tmp_path}/mark sleep 600")
    staffed.wait_for_child(worker, job_id).kill()
    assert staffed.wait(job_id).attempt == 2
    assert worker.poll() is None


def test_a_child_that_always_dies_fails_its_job_and_no_worker(staffed):
    [worker] = staffed.workers
    poison = staffed.post("die")
    good = staffed.post()
    assert staffed.wait(poison, "failed").error["code"] == "worker_lost"
    staffed.wait(good)
    assert worker.poll() is None


def test_a_cancelled_job_is_stopped_within_two_seconds_and_the_worker_goes_on(staffed):
    def seconds():
        [worker] = staffed.workers
        job_id = staffed.post("sleep 600")
        next_id = staffed.post()
        child = staffed.wait_for_child(worker, job_id)
        staffed.cancel(job_id)
        began = time.monotonic()
        wait_for(lambda: is_dead(child), "the child to be killed")
        passed = time.monotonic() - began
        staffed.wait(next_id)
        assert staffed.job(job_id).state == "cancelled"
        assert list((staffed.settings.data_dir / "scratch").iterdir()) == []
        return passed

    # one of several suffices, since the machine may be busy
    wait_for(lambda: seconds() < 2, "a job that is stopped in time")


@pytest.mark.slow
def test_jobs_go_to_whoever_is_free_and_each_is_claimed_once(workplace):
    workplace.start()
    workplace.start()
    jobs = [workplace.post() for _ in range(8)]
    assert [workplace.wait(job).attempt for job in jobs] == [1] * 8
    assert sum(workplace.claims(job) for job in jobs) == 8


@pytest.mark.parametrize(
    "workplace",
    ["servers", pytest.param("files", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_killed_worker_takes_its_child_along_and_another_does_the_job(
    workplace, tmp_path
):
    worker = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    child = workplace.wait_for_child(worker, job_id)
    worker.kill()
    wait_for(lambda: is_dead(child), "the child to die with its worker")
    workplace.end_lease(job_id)
    workplace.start()
    assert workplace.wait(job_id).attempt == 2
    wait_for(
        lambda: not list((workplace.settings.data_dir / "scratch").iterdir()),
        "the scratch folder to go",
    )


@pytest.mark.slow
def test_workers_that_always_die_fail_the_job_in_the_end(workplace):
    job_id = workplace.post("sleep 600")
    for _ in range(3):
        worker = workplace.start()
        workplace.wait_for_child(worker, job_id)
        worker.kill()
        worker.wait()  # it renews the lease no more
        workplace.end_lease(job_id)
    workplace.start()
    job = workplace.wait(job_id, "failed")
    assert job.error["code"] == "worker_lost"
    assert job.attempt == 3


@pytest.mark.parametrize(
    "workplace",
    ["files", pytest.param("servers", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_worker_told_to_end_gives_its_job_back_and_ends(workplace, tmp_path):
    worker = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    next_id = workplace.post()
    child = workplace.wait_for_child(worker, job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(120) == 0
    assert is_dead(child)
    job = workplace.job(job_id)
    assert job.state == "queued"
    assert job.attempt == 0
    # the message was received, so the sweeper must send another
    workplace.change(job_id, created_at=job.created_at - timedelta(minutes=1))
    workplace.start()
    assert workplace.wait(job_id).attempt == 1
    assert workplace.wait(next_id).attempt == 1


@pytest.mark.slow
def test_a_worker_frozen_past_its_lease_commits_nothing_when_it_goes_on(
    workplace, tmp_path
):
    frozen = workplace.start()
    job_id = workplace.post(f"once {tmp_path}/mark sleep 600")
    child = workplace.wait_for_child(frozen, job_id)
    workplace.freeze(frozen)
    workplace.end_lease(job_id)
    workplace.start()
    ended = workplace.wait(job_id)
    frozen.send_signal(signal.SIGCONT)
    wait_for(lambda: is_dead(child), "the child of the lost lease to be stopped")
    wait_for(
        lambda: '"lease lost"' in workplace.log.read_text(),
        "the worker to see that its lease is lost",
    )
    job = workplace.job(job_id)
    assert job.state == "succeeded"
    assert job.attempt == 2
    assert job.finished_at == ended.finished_at
    assert frozen.poll() is None


@pytest.mark.slow
def test_a_broker_without_memory_ends_neither_the_worker_nor_its_sweeper(
    tmp_path, redis_of_its_own
):
    url, client = redis_of_its_own
    with workplace_in(tmp_path, broker_url=url) as workplace:
        worker = workplace.start()
        client.config_set("maxmemory", "1")
        wait_for(
            lambda: '"OutOfMemoryError"' in workplace.log.read_text(),
            "an error of Redis",
        )
        left = workplace.post(enqueued=False, age=timedelta(minutes=1))
        workplace.change(
            left,
            state="running",
            lease_owner="dead",
            lease_expires_at=datetime.now(UTC) - timedelta(seconds=1),
        )
        workplace.wait(left, "queued")
        assert worker.poll() is None
        client.config_set("maxmemory", "0")
        workplace.wait(left)


def test_a_data_folder_that_is_away_for_a_while_costs_no_job(tmp_path):
    with workplace_in(tmp_path) as workplace:
        folder = workplace.settings.data_dir
        worker = workplace.start()
        job_id = workplace.post(enqueued=False)
        folder.rename(tmp_path / "away")
        wait_for(
            lambda: '"DataFolderGone"' in workplace.log.read_text(), "a failed sweep"
        )
        assert not folder.exists()
        (tmp_path / "away").rename(folder)
        workplace.change(job_id, created_at=datetime.now(UTC) - timedelta(minutes=1))
        assert workplace.wait(job_id).attempt == 1
        assert worker.poll() is None

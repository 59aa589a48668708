"""A service of one test's own: its settings, its tables, and jobs to put into them."""

import hashlib
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from support.service import fake_engine

from app.db.models import Base, Event, Job, Model
from app.db.session import get_engine, transaction
from app.settings import get_settings
from app.storage import get_storage
from worker import tasks
from worker.sandbox import doctor, run


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CONVPRESS_DATABASE_URL", raising=False)
    monkeypatch.delenv("CONVPRESS_BROKER_URL", raising=False)
    get_settings.cache_clear()
    settings = get_settings()
    settings.data_dir.mkdir()
    engine = get_engine(settings.sql_url)
    Base.metadata.create_all(engine)
    yield settings
    engine.dispose()
    get_settings.cache_clear()


ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
"""The least that passes for an ONNX file: an IR version and an empty graph."""


@pytest.fixture
def store_file(settings):
    """Put content into the store under a key, past SQL."""

    def store(key, content=b"x"):
        with get_storage().stage() as staged:
            staged.write(content)
            staged.flush()
            get_storage().keep(Path(staged.name), key)

    return store


@pytest.fixture
def make_job(settings, store_file):
    def make(age_seconds=0.0, content=ONNX, **columns):
        sha256 = hashlib.sha256(content).hexdigest()
        store_file(f"models/{sha256}", content)
        created = datetime.now(UTC) - timedelta(seconds=age_seconds)
        job = Job(
            id=uuid.uuid4(),
            created_at=created,
            model_sha256=sha256,
            filename="net.onnx",
            **{"state": "queued", "flops_budget": "0.5", **columns},
        )
        with transaction() as session:
            session.merge(
                Model(
                    sha256=sha256,
                    format="onnx",
                    bytes=len(content),
                    created_at=created,
                    used_at=created,
                )
            )
            session.add(job)
        return job.id

    return make


@pytest.fixture
def wait_gone():
    def wait(pid, seconds=60.0):
        """Whether a process dies in time; one that nobody has reaped yet is dead."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                state = (
                    Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                )
            # the latter where it ends while its file is read
            except (FileNotFoundError, ProcessLookupError):
                return True
            if state == "Z":
                return True
            time.sleep(0.02)
        return False

    return wait


@pytest.fixture
def load_job(settings):
    def load(job_id):
        with transaction() as session:
            return session.get_one(Job, job_id)

    return load


@pytest.fixture
def events(settings):
    """The events of a job, oldest first."""

    def load(job_id):
        with transaction() as session:
            return session.scalars(
                select(Event).where(Event.job_id == job_id).order_by(Event.id)
            ).all()

    return load


@pytest.fixture
def engine_without_work(monkeypatch):
    """Children that speak like the engine, in cells with open doors."""
    monkeypatch.setattr(run, "ENGINE", fake_engine.ENGINE)
    monkeypatch.setattr(doctor, "confined", fake_engine.unconfined)


@pytest.fixture
def enqueued(monkeypatch):
    job_ids = []
    monkeypatch.setattr(tasks, "enqueue", lambda job_id: job_ids.append(job_id) or True)
    return job_ids


@pytest.fixture
def work(settings, load_job, enqueued):
    def work(job_id):
        tasks.compress(str(job_id))
        assert list((settings.data_dir / "scratch").glob("*")) == []
        return load_job(job_id)

    return work

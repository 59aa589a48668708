"""The API as a process on a free port, with a client and the means to act as its worker."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, update
from sqlalchemy.orm import Session
from support.service.databases import put_migrated_database

from app.db.models import Job
from app.http.framing import MOST_HEADER_BYTES
from app.storage.local import LocalStorage

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
"""The smallest ONNX file: an IR version and an empty graph."""


@dataclass
class Api:
    """A running API: a client, its process, and the places of its files and rows."""

    http: httpx.Client
    process: subprocess.Popen[bytes]
    data_dir: Path
    sql_url: str
    log: Path

    def post(
        self, model: bytes = ONNX, filename: str = "net.onnx", **fields: str
    ) -> httpx.Response:
        return self.http.post(
            "/jobs",
            data={"flops_budget": "0.5"} | fields,
            files={"model": (filename, model)},
        )

    def change(self, job_id: str, **columns: Any) -> None:
        """Write what a worker would write."""
        engine = create_engine(self.sql_url)
        with engine.begin() as connection:
            connection.execute(
                update(Job).where(Job.id == uuid.UUID(job_id)).values(**columns)
            )
        engine.dispose()

    def row(self, job_id: str) -> Job:
        """Read a job's row."""
        engine = create_engine(self.sql_url)
        with Session(engine) as session:
            job = session.get_one(Job, uuid.UUID(job_id))
        engine.dispose()
        return job

    def succeed(self, job_id: str, artifact: bytes, report: bytes = b"{}") -> str:
        """End a job as a worker would; return the artifact's SHA-256."""
        storage = LocalStorage(self.data_dir / "storage")
        hashes = [hashlib.sha256(content).hexdigest() for content in (artifact, report)]
        for content, sha256 in zip((artifact, report), hashes, strict=True):
            with storage.stage() as staged:
                staged.write(content)
                staged.flush()
                storage.keep(Path(staged.name), f"artifacts/{job_id}/{sha256}")
        now = datetime.now(UTC)
        self.change(
            job_id,
            state="succeeded",
            progress=1.0,
            started_at=now,
            finished_at=now,
            macs_before=1000,
            macs_after=470,
            artifact_sha256=hashes[0],
            artifact_bytes=len(artifact),
            report_sha256=hashes[1],
        )
        return hashes[0]

    def left_over(self) -> list[Path]:
        """The staged files; there must be none after a request."""
        # no folder before the first upload
        return list((self.data_dir / "storage" / "staging").glob("*"))

    def stored(self) -> set[str]:
        """The keys of the store."""
        root = self.data_dir / "storage"
        return {
            str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()
        }


@contextmanager
def serve_api(data_dir: Path, **settings: str) -> Iterator[Api]:
    """Run the API until the block ends; a database of PostgreSQL has to be migrated before."""
    sql_url = settings.get("database_url") or f"sqlite:///{data_dir}/convpress.db"
    if "database_url" not in settings:
        put_migrated_database(data_dir / "convpress.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CONVPRESS_")
    }
    environment |= {
        f"CONVPRESS_{name.upper()}": value for name, value in settings.items()
    }
    environment["CONVPRESS_DATA_DIR"] = str(data_dir)
    log = data_dir / "api.log"
    arguments = [
        "--factory",
        "app.main:create_app",
        "--http",
        "h11",
        "--h11-max-incomplete-event-size",
        str(MOST_HEADER_BYTES),
        "--port",
        str(port),
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *arguments],
            env=environment,
            stdout=output,
            stderr=output,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as http,
    ):
        try:
            _wait_until_up(http, process, log)
            yield Api(http, process, data_dir, sql_url, log)
        finally:
            process.terminate()


def _wait_until_up(
    http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path
) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        try:
            http.get("/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the API did not come up: {log.read_text()}")


@pytest.fixture(scope="session")
def api_server() -> Any:
    """Run the API in a folder, with settings, as a context manager: for fixtures that share it
    among tests.
    """
    return serve_api


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API on SQLite, shared by all tests that ask nothing of jobs that are not theirs."""
    with serve_api(
        tmp_path_factory.mktemp("api"), max_upload_bytes="1000000"
    ) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_api(
    postgres_database: Any,
    migrated_postgres: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    """The API on PostgreSQL, shared as `api` is."""
    with (
        postgres_database(migrated_postgres) as url,
        serve_api(tmp_path_factory.mktemp("postgres_api"), database_url=url) as running,
    ):
        yield running


@pytest.fixture
def start_api(tmp_path: Path) -> Any:
    """Run the API with settings of a test's own, as a context manager."""
    return lambda **settings: serve_api(tmp_path, **settings)

"""Servers for tests that need one: a fresh PostgreSQL database, an empty Redis database, a bucket.

Where no server listens such tests are skipped; under CI=true they fail, so that nothing goes
untested unnoticed.
"""

import gc
import importlib
import logging
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings
from sqlalchemy import event
from sqlalchemy.pool import Pool

from app.db.migrations import migrate

# How long an example takes says how busy the machine is.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

POSTGRES = "postgres@127.0.0.1:5432"
REDIS = "redis://127.0.0.1:6379"
MOST_OBJECTS = 50_000
"""A collection looks at this many in about 10 ms."""

COLLECT_AFTER = 50_000, 20, 50
"""New objects before a collection, and collections of each generation before one of the next.

Python's own thresholds are for programs that make fewer objects.
"""


@event.listens_for(Pool, "checkout")
def _wait_for_no_disk(connection: Any, *_: Any) -> None:
    """No test cuts the power, so this process need not wait until what SQLite writes is on the
    disk.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_finish() -> None:
    """Exclude all that is imported by now from garbage collection, which the engine runs often."""
    if "torch" in sys.modules:
        # otherwise tracing imports it, and sympy, in the first test
        importlib.import_module("torch.distributed.tensor")
        _let_torch_log_by_the_root()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _let_torch_log_by_the_root() -> None:
    """Let torch's loggers hand on what they log: pytest would attach itself to each of those that
    do not, which is sixty, six times a test.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("torch") and isinstance(logger, logging.Logger):
            logger.propagate = True


@pytest.fixture(autouse=True, scope="module")
def _short_collections() -> None:
    """Exclude what earlier tests have left for good, such as modules that one of them imported.

    The engine collects garbage wherever it opens a file, for seconds a test otherwise.
    """
    if len(gc.get_objects()) > MOST_OBJECTS:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[Any], list[Any]]:
    """Look for doctests beside the tests alone: a test has none, and the search takes seconds in
    each process.
    """
    collectors = yield
    if not file_path.name.startswith("test_"):
        return collectors
    return [collector for collector in collectors if type(collector) is pytest.Module]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give out tests by their servers where `--dist loadfile` asks for whole files."""
    if config.getvalue("dist") != "loadfile":
        return None
    from support.scheduling import ByServer

    return ByServer(config, log)


def unavailable(server: str, error: Exception) -> NoReturn:
    message = f"needs {server}: {error}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' own checker."""
    executable = shutil.which("promtool")
    if executable is None:
        unavailable(
            "promtool", FileNotFoundError("it comes with Debian's package prometheus")
        )
    return executable


@contextmanager
def new_postgres_database(template: str = "template1") -> Iterator[str]:
    """Give the SQLAlchemy URL of a new PostgreSQL database; it is dropped behind the block, whoever
    is in it.

    It is empty, or a copy of `template`, the name of a database that nobody is connected to.
    """
    name = f"convpress_test_{secrets.token_hex(6)}"
    try:
        server = psycopg.connect(
            f"postgresql://{POSTGRES}/postgres", autocommit=True, connect_timeout=30
        )
    except psycopg.OperationalError as error:
        unavailable(f"PostgreSQL at {POSTGRES}", error)
    with server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        server.execute(
            f'ALTER DATABASE "{name}" SET synchronous_commit = off'
        )  # as for SQLite
        try:
            yield f"postgresql+psycopg://{POSTGRES}/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def empty_postgres_database(url: str) -> None:
    """End all other connections to a database, and delete its rows but the schema's revision."""
    name = url.rpartition("/")[2]
    with psycopg.connect(
        f"postgresql://{POSTGRES}/{name}", autocommit=True
    ) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
        tables = connection.execute(
            "SELECT quote_ident(tablename) FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        with connection.transaction():
            # No foreign key is checked. TRUNCATE would make files anew, for half a second.
            connection.execute("SET LOCAL session_replication_role = replica")
            for (table,) in tables:
                connection.execute(f"DELETE FROM {table}")
            connection.execute(
                "SELECT setval(quote_ident(sequencename)::regclass, start_value, false) "
                "FROM pg_sequences WHERE schemaname = 'public'"
            )


@contextmanager
def new_redis_database() -> Iterator[str]:
    """Give the URL of a Redis database that was empty and is the block's alone; it is emptied
    behind the block.
    """
    number = claim_redis_database()
    url = f"{REDIS}/{number}"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def postgres_database() -> Callable[..., AbstractContextManager[str]]:
    """What gives a new PostgreSQL database: for fixtures that share one among tests."""
    return new_postgres_database


@pytest.fixture(scope="session")
def redis_database() -> Callable[[], AbstractContextManager[str]]:
    """What gives an empty Redis database: for fixtures that share one among tests."""
    return new_redis_database


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty PostgreSQL database."""
    with new_postgres_database() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """The name of a PostgreSQL database of the newest schema, to be copied."""
    with new_postgres_database() as url:
        migrate(url)
        yield url.rpartition("/")[2]


@pytest.fixture(scope="session")
def _shared_postgres_url(migrated_postgres: str) -> Iterator[str]:
    """The URL of a database of the newest schema that the tests of this process take in turn.

    To make one for each test and to drop it takes the server longer than most of the tests.
    """
    with new_postgres_database(migrated_postgres) as url:
        yield url


@pytest.fixture
def migrated_postgres_url(_shared_postgres_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the newest schema, for this test alone."""
    yield _shared_postgres_url
    empty_postgres_database(_shared_postgres_url)


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of a Redis database that was empty and is this test's alone."""
    with new_redis_database() as url:
        yield url


@pytest.fixture
def redis_of_its_own(tmp_path: Path) -> Iterator[tuple[str, "redis.Redis"]]:
    """The URL of a Redis server that only this test uses, and a client for its settings."""
    server = shutil.which("redis-server")
    if server is None:
        unavailable(
            "redis-server", FileNotFoundError("it comes with Debian's package redis")
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as process,
        redis.Redis(port=port, socket_timeout=60) as client,
    ):
        try:
            deadline = time.monotonic() + 600
            while not _pings(client):
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0", client
        finally:
            process.terminate()


def _pings(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def claim_redis_database() -> int:
    """Mark an empty database as taken, so that test runs in parallel do not share one; never
    number 0.
    """
    for number in range(1, 16):
        with redis.Redis.from_url(
            f"{REDIS}/{number}", socket_connect_timeout=30
        ) as client:
            try:
                claimed = client.set("convpress_test", os.getpid(), nx=True)
            except redis.ConnectionError as error:
                unavailable(f"Redis at {REDIS}", error)
            if claimed and client.dbsize() == 1:
                return number
            if claimed:
                client.delete("convpress_test")
    pytest.fail(
        "needs an empty Redis database, and 1 to 15 all hold keys: FLUSHDB one that nobody needs"
    )


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server over HTTP, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "moto.server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            deadline = time.monotonic() + 600
            while not answers(url):
                assert server.poll() is None, "the S3 server ended"
                assert time.monotonic() < deadline, "the S3 server does not answer"
                time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket; the environment, also of processes started in the test, leads to its
    server.
    """
    return new_bucket(s3_endpoint, monkeypatch)


@pytest.fixture(scope="session")
def make_bucket() -> Callable[[str, pytest.MonkeyPatch], str]:
    """What makes a bucket as `bucket` does: for fixtures that share one among tests."""
    return new_bucket


def new_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a bucket on a server, lead the environment to it, and return its URL."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    name = f"convpress-{secrets.token_hex(6)}"
    httpx.put(f"{s3_endpoint}/{name}").raise_for_status()
    return f"s3://{name}/some/prefix"

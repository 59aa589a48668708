"""Servers for tests that need one: a fresh PostgreSQL database, an empty Redis database, a bucket.

Where no server listens such tests are skipped; under CI=true they fail, so that nothing goes untested unnoticed.
"""

import gc
import importlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import httpx
import psycopg
import pytest
import redis
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

POSTGRES = "postgres@127.0.0.1:5432"
REDIS = "redis://127.0.0.1:6379"


def pytest_collection_finish() -> None:
    """Take all that is imported by now out of the collector's sight: the engine collects before it writes a model."""
    if "torch" in sys.modules:
        importlib.import_module(
            "torch.distributed.tensor"
        )  # or tracing imports it, and sympy, in the first test
    gc.collect()
    gc.freeze()


def unavailable(server: str, error: Exception) -> NoReturn:
    message = f"needs {server}: {error}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' own checker."""
    found = shutil.which("promtool")
    if found is None:
        unavailable("promtool", FileNotFoundError("it comes with Debian's package prometheus"))
    return found


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty PostgreSQL database; it is dropped after the test, whoever is connected."""
    name = f"convpress_test_{secrets.token_hex(6)}"
    try:
        server = psycopg.connect(
            f"postgresql://{POSTGRES}/postgres", autocommit=True, connect_timeout=3
        )
    except psycopg.OperationalError as error:
        unavailable(f"PostgreSQL at {POSTGRES}", error)
    with server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"postgresql+psycopg://{POSTGRES}/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def redis_url() -> Iterator[str]:
    """The URL of a Redis database that was empty and is this test's alone; it is emptied after the test."""
    number = claim_redis_database()
    url = f"{REDIS}/{number}"
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


def claim_redis_database() -> int:
    """Mark an empty database as taken, so that test runs beside each other do not share one; never number 0."""
    for number in range(1, 16):
        with redis.Redis.from_url(f"{REDIS}/{number}", socket_connect_timeout=3) as client:
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
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 30
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
    """The URL of a new bucket; the environment, also of processes started in the test, leads to its server."""
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

"""Servers for tests that need one: a fresh PostgreSQL database, an empty Redis database.

Where no server listens such tests are skipped; under CI=true they fail, so that nothing goes untested unnoticed.
"""

import os
import secrets
from collections.abc import Iterator
from typing import NoReturn

import psycopg
import pytest
import redis

POSTGRES = "postgres@127.0.0.1:5432"
REDIS = "redis://127.0.0.1:6379"


def unavailable(server: str, error: Exception) -> NoReturn:
    message = f"needs {server}: {error}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty PostgreSQL database; it is dropped after the test, whoever is connected."""
    name = f"convpress_test_{secrets.token_hex(6)}"
    try:
        server = psycopg.connect(f"postgresql://{POSTGRES}/postgres", autocommit=True, connect_timeout=3)
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
    pytest.fail("needs an empty Redis database, and 1 to 15 all hold keys: FLUSHDB one that nobody needs")

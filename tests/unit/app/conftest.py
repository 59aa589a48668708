"""The application in this process, with settings and a migrated database of one test's own."""

from datetime import timedelta

import anyio
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session
from support.service.databases import put_migrated_database
from support.service.job_history import add

from app.auth import rate_limit
from app.db.models import Model, Worker
from app.db.session import get_engine, now
from app.errors import install
from app.http.request_context import RequestContext
from app.main import create_app
from app.settings import get_settings
from app.stats import counters
from app.stats.request_counts import RequestCounts


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Set the process's settings, and see to the newest schema in the database that they name."""

    def set_up(**values):
        for name, value in {"data_dir": str(tmp_path / "data"), **values}.items():
            monkeypatch.setenv(f"CONVPRESS_{name.upper()}", value)
        get_settings.cache_clear()
        settings = get_settings()
        # a service makes its folder when it starts, and later nothing else does
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if settings.database_url is None:
            put_migrated_database(settings.data_dir / "convpress.db")
        return settings

    for name in ("DATABASE_URL", "BROKER_URL"):
        monkeypatch.delenv(f"CONVPRESS_{name}", raising=False)
    yield set_up
    get_engine(get_settings().sql_url).dispose()
    get_settings.cache_clear()


@pytest.fixture
def settings(configure):
    return configure()


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request, configure):
    """The settings, once with SQLite and once with PostgreSQL."""
    if request.param == "sqlite":
        return configure()
    return configure(database_url=request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
def session(each_database):
    with Session(get_engine(each_database.sql_url), expire_on_commit=False) as session:
        yield session


class Client:
    """Requests to an application without a socket."""

    def __init__(self, app):
        self.app = app

    def request(self, method, path, **options):
        async def send():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as http:
                return await http.request(method, path, **options)

        return anyio.run(send)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)


@pytest.fixture
def client(settings):
    return Client(create_app())


@pytest.fixture
def client_of():
    """Requests to an application of the test's own."""
    return Client


@pytest.fixture
def guarded(configure, client_of):
    """A service with keys, started with some settings."""
    rate_limit.local_limiter.cache_clear()

    def start(**settings):
        configure(api_keys="true", **settings)
        return client_of(create_app())

    return start


@pytest.fixture
def unread_body():
    """The options of a request whose body fails the test when a byte of it is read."""

    async def body():
        raise AssertionError("the body was read")
        yield b""

    return {"content": body()}


@pytest.fixture
def answer(client_of):
    """The answer to a call that raises an error, or that returns the result of a function."""

    def call(error, **options):
        app = FastAPI()
        app.state.request_counts = RequestCounts()
        install(app)
        app.add_middleware(RequestContext)

        @app.get("/call")
        def fail():
            if isinstance(error, Exception):
                raise error
            return error()

        return client_of(app).get("/call", **options)

    return call


@pytest.fixture
def filled(session):
    """A database with jobs in all states, and workers."""
    add(session, "queued", age=30)
    add(session, "queued", age=90)
    held = add(
        session,
        "running",
        lease_owner="host:7:x",
        lease_expires_at=now(session) + timedelta(seconds=30),
    )
    add(
        session,
        "running",
        lease_owner="lost:8:x",
        lease_expires_at=now(session) - timedelta(seconds=30),
    )
    add(
        session,
        "succeeded",
        owner="ann",
        artifact_bytes=70,
        macs_before=100,
        macs_after=40,
    )
    add(session, "failed", owner="ann", code="budget_unreachable")
    add(session, "failed", code="worker_lost", age=7200)
    add(session, "cancelled", age=50 * 3600)
    at = held.created_at
    session.get_one(Model, "a" * 64).analysis_bytes = 300
    session.add(Worker(name="host:7", slots=2, started_at=at, seen_at=at))
    session.add(
        Worker(name="gone:9", slots=2, started_at=at, seen_at=at - timedelta(hours=1))
    )
    counters.add(
        session, counters.of_success(60, {"loading": 0.3, "factoring": 7000.0})
    )
    counters.add(session, counters.of_success(40, {"loading": 0.1}))
    session.commit()

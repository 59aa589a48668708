"""Migrations lead up, down and to the tables of the models, on both databases, from any folder."""

import threading
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import (
    Engine,
    column,
    create_engine,
    event,
    insert,
    inspect,
    select,
    table,
    text,
)

from app.db import migrations
from app.db.models import Base, Delivery, Job, JobLabel, Model


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new folder/convpress.db"
    return request.getfixturevalue("postgres_url")


def look(url, question):
    engine = create_engine(url)
    with engine.connect() as connection:
        answer = question(connection)
    engine.dispose()
    return answer


def test_up_twice_and_down_again(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = migrations.configuration()
    config.attributes["url"] = url
    migrations.migrate(url)
    migrations.migrate(url)
    assert look(url, migrations.is_current)
    command.check(config)
    assert {*Base.metadata.tables, "alembic_version"} == set(
        look(url, lambda c: inspect(c).get_table_names())
    )
    command.downgrade(config, "base")
    assert look(url, lambda c: inspect(c).get_table_names()) == ["alembic_version"]
    assert not look(url, migrations.is_current)
    migrations.migrate(url)


def test_an_empty_database_is_not_current(tmp_path):
    assert not look(f"sqlite:///{tmp_path}/empty.db", migrations.is_current)


def test_what_was_interrupted_can_be_run_again(url):
    """Every index is interrupted once while PostgreSQL builds it outside of the transaction."""
    config = migrations.configuration()
    config.attributes["url"] = url
    built = set()

    def interrupt(_connection, _cursor, statement, *_):
        if (
            " INDEX " in statement
            and statement.startswith("CREATE")
            and statement not in built
        ):
            built.add(statement)
            raise InterruptedError

    event.listen(Engine, "before_cursor_execute", interrupt)
    try:
        for _ in range(100):
            with suppress(InterruptedError):
                migrations.migrate(url)
                break
    finally:
        event.remove(Engine, "before_cursor_execute", interrupt)
    assert len(built) > 15
    assert look(url, migrations.is_current)
    command.check(config)


def test_labels_from_before_their_index_are_in_it(url):
    config = migrations.configuration()
    config.attributes["url"] = url
    command.upgrade(config, "0009")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    jobs = [
        {
            "id": uuid.UUID(int=n),
            "created_at": began + timedelta(seconds=n // 3),
            "labels": {},
        }
        for n in range(10_001)  # two batches and one
    ]
    for job in jobs[::2]:
        job["labels"] = {"run": str(job["id"].int), "team": 'a "b" \u00e9'}
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO models (sha256, format, bytes, created_at)"
                " VALUES ('a', 'onnx', 5, '2026-01-01')"
            )
        )
        constant = {
            "state": "queued",
            "progress": 0.0,
            "model_sha256": "a",
            "filename": "n",
            "flops_budget": "1",
        }
        now = Job.__table__.columns
        then = table(
            "jobs",
            *(
                column(name, now[name].type)
                for name in [*jobs[0], *constant, "attempt", "calibration"]
            ),
        )
        connection.execute(
            insert(then),
            [job | constant | {"attempt": 0, "calibration": "none"} for job in jobs],
        )
    command.upgrade(config, "head")
    with engine.begin() as connection:
        rows = connection.execute(
            select(JobLabel).order_by(JobLabel.job_id, JobLabel.name)
        ).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [
        (job["id"], name, value, job["created_at"])
        for job in jobs
        for name, value in sorted(job["labels"].items())
    ]


def test_deliveries_from_before_events_are_named_by_their_jobs_states(url):
    config = migrations.configuration()
    config.attributes["url"] = url
    command.upgrade(config, "0011")
    states = ("succeeded", "failed", "cancelled")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    model = {
        "sha256": "a",
        "format": "onnx",
        "bytes": 5,
        "created_at": at,
        "used_at": at,
    }
    jobs = [
        {"id": uuid.UUID(int=number), "state": state, "created_at": at}
        | {
            "model_sha256": "a",
            "filename": "n",
            "flops_budget": "1",
            "calibration": "none",
        }
        | {"progress": 1.0, "labels": {}, "attempt": 1}
        for number, state in enumerate(states)
    ]
    deliveries = [
        {
            "id": uuid.uuid4(),
            "job_id": uuid.UUID(int=number % 3),
            "created_at": at,
            "attempt": 0,
        }
        for number in range(10_001)  # two batches and one
    ]
    # The tables as they were: those of the models have later columns, with defaults.
    old_jobs = table(
        "jobs", *(column(name, Job.__table__.c[name].type) for name in jobs[0])
    )
    columns = [column(name, Delivery.__table__.c[name].type) for name in deliveries[0]]
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(Model), model)
        connection.execute(insert(old_jobs), jobs)
        connection.execute(insert(table("deliveries", *columns)), deliveries)
    command.upgrade(config, "head")
    pairs = (
        select(Job.state, Delivery.event)
        .join(Job, Job.id == Delivery.job_id)
        .distinct()
    )
    with engine.begin() as connection:
        named = {tuple(row) for row in connection.execute(pairs)}
    engine.dispose()
    assert named == {(state, f"job.{state}") for state in states}


def test_migrations_can_be_written_as_sql(capsys):
    config = migrations.configuration()
    config.attributes["url"] = "postgresql://nobody@nowhere/nothing"
    command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE jobs" in capsys.readouterr().out


RANDOM_JOB = (
    "(SELECT id FROM jobs WHERE id > (SELECT gen_random_uuid()) ORDER BY id LIMIT 1)"
)


@contextmanager
def writing(engine):
    """Change jobs and delete some until the block ends; the list gets the seconds of each pair."""
    stopping = threading.Event()
    waits = []

    def write():
        with engine.connect() as connection:
            while not stopping.is_set():
                began = time.perf_counter()
                connection.execute(
                    text(f"UPDATE jobs SET progress = progress WHERE id = {RANDOM_JOB}")
                )
                connection.execute(text(f"DELETE FROM jobs WHERE id = {RANDOM_JOB}"))
                waits.append(time.perf_counter() - began)
                time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield waits
    finally:
        stopping.set()
        writer.join()


@pytest.mark.long
def test_a_million_jobs_are_not_locked_for_long(postgres_url):
    config = migrations.configuration()
    config.attributes["url"] = postgres_url
    command.upgrade(config, "0001")
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text("INSERT INTO models VALUES (repeat('a', 64), 'onnx', 5, now())")
        )
        connection.execute(
            text(
                "INSERT INTO jobs (id, state, progress, created_at, model_sha256, filename,"
                " flops_budget, attempt)"
                " SELECT gen_random_uuid(), 'succeeded', 1, now() - n * interval '1 second',"
                " repeat('a', 64), 'n', '1',"
                " 1 FROM generate_series(1, 1000000) n"
            )
        )
    with writing(engine) as waits:
        command.upgrade(config, "0009")
    with engine.connect() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET labels = json_build_object('team', 'vision', 'run', id::text)"
            )
        )
        connection.execute(text("VACUUM ANALYZE jobs"))
    with writing(engine) as waits_with_labels:
        command.upgrade(config, "head")
        labelled = look(
            postgres_url, lambda c: c.scalar(text("SELECT count(*) FROM job_labels"))
        )
        command.downgrade(config, "0001")
    engine.dispose()
    assert labelled > 1_900_000
    assert len(waits) > 20
    assert len(waits_with_labels) > 20
    assert max(waits) < 1
    assert max(waits_with_labels) < 1

"""Migrations lead up, down and to the tables that the code knows, on both databases and from any folder."""

import threading
import time

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from app import migrations
from app.models import Base


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
    config = Config(migrations._INI)
    config.attributes["url"] = url
    migrations.migrate(url)
    migrations.migrate(url)
    assert look(url, migrations.is_current)
    command.check(config)
    assert {*Base.metadata.tables, "alembic_version"} == set(look(url, lambda c: inspect(c).get_table_names()))
    command.downgrade(config, "base")
    assert look(url, lambda c: inspect(c).get_table_names()) == ["alembic_version"]
    assert not look(url, migrations.is_current)
    migrations.migrate(url)


def test_an_empty_database_is_not_current(tmp_path):
    assert not look(f"sqlite:///{tmp_path}/empty.db", migrations.is_current)


def test_migrations_can_be_written_as_sql(capsys):
    config = Config(migrations._INI)
    config.attributes["url"] = "postgresql://nobody@nowhere/nothing"
    command.upgrade(config, "head", sql=True)
    assert "CREATE TABLE jobs" in capsys.readouterr().out


@pytest.mark.slow
def test_a_million_jobs_are_not_locked_for_long(postgres_url):
    config = Config(migrations._INI)
    config.attributes["url"] = postgres_url
    command.upgrade(config, "0001")
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO models VALUES (repeat('a', 64), 'onnx', 5, now())"))
        connection.execute(
            text(
                "INSERT INTO jobs (id, state, progress, created_at, model_sha256, filename, flops_budget, attempt)"
                " SELECT gen_random_uuid(), 'succeeded', 1, now() - n * interval '1 second', repeat('a', 64), 'n', '1',"
                " 1 FROM generate_series(1, 1000000) n"
            )
        )
    stopping, waits = threading.Event(), []

    def write():
        with engine.connect() as connection:
            [job_id] = connection.execute(text("SELECT id FROM jobs LIMIT 1")).one()
            while not stopping.is_set():
                began = time.perf_counter()
                connection.execute(text("UPDATE jobs SET progress = progress WHERE id = :id"), {"id": job_id})
                waits.append(time.perf_counter() - began)
                time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        command.upgrade(config, "head")
        command.downgrade(config, "0001")
    finally:
        stopping.set()
        writer.join()
        engine.dispose()
    assert len(waits) > 20
    assert max(waits) < 1

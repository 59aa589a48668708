"""Migrations lead up, down and to the tables that the code knows, on both databases and from any folder."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

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

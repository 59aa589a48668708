"""Migrations: bring a database to the newest schema, and tell whether it has it."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_INI = Path(__file__).resolve().parents[2] / "alembic.ini"


def migrate(url: str) -> None:
    """Bring the database to the newest schema; does nothing to a database that has it."""
    config = Config(_INI)
    config.attributes["url"] = url
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Tell whether the database has the schema that this code was written for."""
    return MigrationContext.configure(connection).get_current_revision() == _newest()


@cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(Config(_INI)).get_current_head()

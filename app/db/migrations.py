"""Migrations: bring a database to the newest schema, and tell whether it has it."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, NullPool, create_engine, make_url

if (
    TYPE_CHECKING
):  # the API starts without alembic, whose import is an eighth of its start
    from alembic.config import Config

# In a checkout the scripts lie in `alembic/`; setup.py puts them beside this file when it builds a
# wheel.
_INSTALLED = Path(__file__).resolve().with_name("migration_scripts")
_CHECKOUT = Path(__file__).resolve().parents[2] / "alembic"


def migrate(url: str) -> None:
    """Bring the database to the newest schema; does nothing to a database that has it."""
    from alembic import command

    config = configuration()
    config.attributes["url"] = url
    command.upgrade(config, "head")


def exists(url: str) -> bool:
    """Tell whether there is a database with some version of the schema; nothing is created."""
    from alembic.migration import MigrationContext

    parsed = make_url(url)
    # A connection to SQLite would create the file.
    is_missing_file = (
        parsed.get_backend_name() == "sqlite"
        and not Path(parsed.database or "").exists()
    )
    if is_missing_file:
        return False
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() is not None


def is_current(connection: Connection) -> bool:
    """Tell whether the database has the schema that this code was written for."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision() == _newest()


@cache
def _newest() -> str | None:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(configuration()).get_current_head()


def configuration() -> "Config":
    """Return the configuration of alembic, with the folder of the migrations."""
    from alembic.config import Config

    config = Config()
    scripts = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

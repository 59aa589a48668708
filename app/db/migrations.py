"""Migrations: bring a database to the newest schema, and tell whether it has it."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

# In a checkout the scripts lie in `alembic/`; setup.py puts them beside this file when it builds a
# wheel.
_INSTALLED = Path(__file__).resolve().with_name("migration_scripts")
_CHECKOUT = Path(__file__).resolve().parents[2] / "alembic"


def migrate(url: str) -> None:
    """Bring the database to the newest schema; does nothing to a database that has it."""
    config = configuration()
    config.attributes["url"] = url
    command.upgrade(config, "head")


def is_current(connection: Connection) -> bool:
    """Tell whether the database has the schema that this code was written for."""
    return MigrationContext.configure(connection).get_current_revision() == _newest()


@cache
def _newest() -> str | None:
    return ScriptDirectory.from_config(configuration()).get_current_head()


def configuration() -> Config:
    """Return the configuration of alembic, with the folder of the migrations."""
    config = Config()
    scripts = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

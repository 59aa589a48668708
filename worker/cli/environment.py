"""What commands that need the server read first: the settings and the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from worker.cli.exits import UNAVAILABLE, USAGE, end, require_extra

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.settings import Settings


def read_settings() -> "Settings":
    """Read the settings, or end with the names of the variables that are wrong."""
    from pydantic import ValidationError

    from app.settings import faults, get_settings

    try:
        return get_settings()
    except ValidationError as error:
        end(faults(error), USAGE)


@contextmanager
def database(*, create: bool = False) -> Iterator["Session"]:
    """Open a transaction on the settings' database, which is brought up to date first.

    The database is named on standard error. The command ends where there is none, unless `create`.
    """
    require_extra("server")
    from app.db.migrations import migrate
    from app.db.session import transaction

    settings = read_settings()
    name = _without_secrets(settings.sql_url)
    # A key in a new, empty database opens no service: mostly a variable is not set.
    if not create and not _exists(settings.sql_url, name):
        end(
            f"there is no database of convpress at {name}\n"
            "  expected: the database of a service, by CONVPRESS_DATABASE_URL or "
            "CONVPRESS_DATA_DIR\n"
            "  to create it: convpress keys create --create",
            USAGE,
        )
    typer.echo(f"database: {name}", err=True)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.sql_url)
    with transaction() as session:
        yield session


def _exists(url: str, name: str) -> bool:
    """Tell whether there is a database, or end where that cannot be known."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.db.migrations import exists

    try:
        return exists(url)
    except SQLAlchemyError as error:
        # The error's own text may have the password.
        end(f"the database {name} cannot be used: {type(error).__name__}", UNAVAILABLE)


def _without_secrets(url: str) -> str:
    """Return a database's URL without its password, and without a query, which may hold one."""
    from sqlalchemy import make_url

    return make_url(url).set(query={}).render_as_string(hide_password=True)

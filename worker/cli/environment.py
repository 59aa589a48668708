"""What commands that need the server read first: the settings and the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.cli.exits import USAGE, end, require_extra

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.settings import Settings


def read_settings() -> "Settings":
    """Read the settings, or end with the names of the variables that are wrong."""
    from pydantic import ValidationError

    from app.settings import get_settings

    try:
        return get_settings()
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            variables = [f"CONVPRESS_{name}".upper() for name in fault["loc"]]
            faults.append(": ".join([*variables, fault["msg"]]))
        end("\n".join(faults), USAGE)


@contextmanager
def database() -> Iterator["Session"]:
    """Open a transaction on the database, which is brought up to date first."""
    require_extra("server")
    from app.db.migrations import migrate
    from app.db.session import transaction

    settings = read_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    migrate(settings.sql_url)
    with transaction() as session:
        yield session

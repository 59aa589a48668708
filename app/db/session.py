"""Connections to the database: one engine a process, one session a transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.pool import ConnectionPoolEntry

from app.db.models import Job
from app.identity import current_owner
from app.settings import get_settings


class _Session(Session):
    """The session of `transaction`; it restricts queries to the jobs of the current owner."""


def _confine_to_owner(state: ORMExecuteState) -> None:
    """Restrict a query to the current owner's jobs."""
    owner = current_owner.get()
    if owner is not None and not state.is_insert:
        criteria = with_loader_criteria(Job, Job.owner == owner, include_aliases=True)
        state.statement = state.statement.options(criteria)


event.listen(_Session, "do_orm_execute", _confine_to_owner)


@cache
def get_engine(url: str) -> Engine:
    """Return the process's engine for a database."""
    if not url.startswith("sqlite"):
        return create_engine(
            url, pool_pre_ping=True, connect_args={"connect_timeout": 5}
        )
    engine = create_engine(url, connect_args={"timeout": 30})
    file = _DatabaseFile(Path(engine.url.database or ""))
    event.listen(engine, "do_connect", file.require)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", file.note)
    event.listen(engine, "checkout", file.require_same)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own signature
    """Let readers work beside one writer (WAL), and make commits survive a power cut (FULL)."""
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class _DatabaseFile:
    """The file of a SQLite database, which can be deleted or replaced while connections use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was_opened = False

    def require(self, *_connecting: object) -> None:
        """Refuse to make a file again that this process has opened before.

        SQLite would make an empty one where the data folder was emptied. When it closes that, it
        deletes the log (WAL) of whatever database has the name by then.
        """
        if self._was_opened and not self._path.exists():
            raise sqlite3.OperationalError("unable to open database file: it is gone")

    def note(self, _connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Remember the file that a new connection has opened."""
        self._was_opened = True
        record.info["file"] = self._identity()

    def require_same(
        self, _connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        """Let the pool connect again where the file was replaced or moved.

        The old connection would go on to write to a file that has another name or none.
        """
        if self._identity() != record.info["file"]:
            raise DisconnectionError("the file of the database was replaced")

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a session that commits when the block ends, and rolls back when it raises."""
    with (
        _Session(get_engine(get_settings().sql_url), expire_on_commit=False) as session,
        session.begin(),
    ):
        yield session


def now(session: Session) -> datetime:
    """Return the time by the clock of the database, which all processes share.

    SQLite has no clock: there it is the time of this machine.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    time = session.scalar(select(func.clock_timestamp()))
    assert isinstance(time, datetime)
    return time.astimezone(UTC)

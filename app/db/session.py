"""Connections to the database: one engine a process, one session a transaction."""

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
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    engine = create_engine(url, connect_args={"timeout": 30})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "connect", _note_file)
    event.listen(engine, "checkout", _require_same_file)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own signature
    """Let readers work beside one writer (WAL), and make commits survive a power cut (FULL)."""
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _note_file(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info["file"] = _file_of(connection)


def _require_same_file(
    connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Let the pool connect again where the database's file was replaced, as from a backup.

    The old connection would go on to write to a file that has no name.
    """
    if _file_of(connection) != record.info["file"]:
        raise DisconnectionError("the file of the database was replaced")


def _file_of(connection: DBAPIConnection) -> tuple[int, int] | None:
    """Return the identity of the file that now has the name of a connection's database."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA database_list")
    row = cursor.fetchone()
    cursor.close()
    assert row is not None  # the main database
    try:
        status = Path(row[2]).stat()
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

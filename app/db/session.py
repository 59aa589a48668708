"""Connections to the database: one engine a process, one session a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

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
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own signature
    """Let readers work beside one writer (WAL), and make commits survive a power cut (FULL)."""
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


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

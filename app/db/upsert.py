"""INSERT ... ON CONFLICT: both databases have it, but SQLAlchemy offers it by dialect only."""

from collections.abc import Callable, Mapping

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.db.models import Base

_INSERT: Mapping[str, Callable[[type[Base]], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


def insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT in the dialect of the session's database."""
    return _INSERT[session.get_bind().dialect.name](table)

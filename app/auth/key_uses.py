"""The last use of each key, written to its row at most once a minute and after the answer.

A write with each request would make every read wait for a writer, and SQLite has one at a time.
"""

import threading
import time
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.auth import keys
from app.db.session import transaction

PAUSE = timedelta(minutes=1)
"""The shortest time between two writes for one key."""

log = structlog.get_logger(__name__)


class KeyUses:
    """Remembers when this process last wrote the use of each valid key."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_due(self, number: str) -> bool:
        """Return whether the caller should write this use of a key."""
        moment = time.monotonic()
        with self._lock:
            written = self._written.get(number)
            if written is not None and moment - written < PAUSE.total_seconds():
                return False
            self._written[number] = moment
        return True

    def write(self, number: str) -> None:
        """Write that a key was used now; a database that does not answer costs only this."""
        try:
            with transaction() as session:
                keys.mark_used(session, number, PAUSE)
        except SQLAlchemyError as error:
            log.warning("use of a key not written", key=number, error=str(error)[:500])

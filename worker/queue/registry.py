"""Workers that live say so in SQL, for those who watch the service; nothing else depends on it."""

from datetime import timedelta

from sqlalchemy import delete

from app.db.models import Worker
from app.db.session import now, transaction
from app.db.upsert import insert
from worker.queue.lease import worker_name

_KEPT_SECONDS = 3600.0


def show(slots: int) -> None:
    """Say that this worker lives and runs so many jobs at a time; drop those who have long been silent."""
    with transaction() as session:
        at = now(session)
        row = insert(session, Worker).values(
            name=worker_name(), slots=slots, started_at=at, seen_at=at
        )
        again = {"slots": slots, "seen_at": at}
        session.execute(row.on_conflict_do_update(index_elements=["name"], set_=again))
        session.execute(
            delete(Worker).where(Worker.seen_at < at - timedelta(seconds=_KEPT_SECONDS))
        )


def leave() -> None:
    """Say that this worker is going."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.name == worker_name()))

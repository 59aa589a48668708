"""The registry of live workers in SQL, for people who watch the service.

Nothing else depends on it.
"""

from datetime import timedelta

from sqlalchemy import delete

from app.db.models import Worker
from app.db.session import now, transaction
from app.db.upsert import insert
from worker.queue.lease import worker_name

# A worker that was killed stays in the table for this long.
_KEPT_SECONDS = 3600.0


def show(slots: int) -> None:
    """Record that this worker is alive and runs `slots` jobs at a time.

    Delete workers silent for long.
    """
    with transaction() as session:
        at = now(session)
        row = {"name": worker_name(), "slots": slots, "started_at": at, "seen_at": at}
        seen = {"slots": slots, "seen_at": at}
        alive = insert(session, Worker).values(row)
        session.execute(alive.on_conflict_do_update(index_elements=["name"], set_=seen))
        oldest = at - timedelta(seconds=_KEPT_SECONDS)
        session.execute(delete(Worker).where(Worker.seen_at < oldest))


def leave() -> None:
    """Delete this worker, which shuts down."""
    with transaction() as session:
        session.execute(delete(Worker).where(Worker.name == worker_name()))

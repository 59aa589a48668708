"""Jobs that tests add to the database in a state."""

from datetime import timedelta

from app.db.models import Job, Model
from app.db.session import now
from app.jobs.transitions import Changed, record


def add(session, state, *, owner="", age=0.0, code="", **columns):
    """A job with the events that a job of this state has."""
    at = now(session) - timedelta(seconds=age)
    session.merge(
        Model(sha256="a" * 64, format="onnx", bytes=1000, created_at=at, used_at=at)
    )
    ended = {"finished_at": at} if state not in ("queued", "running") else {}
    job = Job(
        created_at=at,
        model_sha256="a" * 64,
        filename="n",
        flops_budget="0.5",
        state=state,
        owner=owner,
        **ended,
        **columns,
    )
    session.add(job)
    session.flush()
    record(session, at, state, code or "done", [Changed(job.id, 1, None, None)])
    return job

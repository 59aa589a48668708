"""How a job changes its state: one conditional UPDATE with its trace and what has to follow, all or nothing.

Nothing else writes `Job.state`. Each change leaves an event; one that ends a job with a webhook leaves a delivery.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, insert, update
from sqlalchemy.orm import Session

from app.db.models import Delivery, Event, Job
from app.webhooks.events import events_of
from convpress.states import TERMINAL, State

FREE: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None}
_LONGEST_DETAIL = 255


class Changed(NamedTuple):
    """A job that a change took effect on, as it is now."""

    id: uuid.UUID
    attempt: int
    webhook_url: str | None
    lease_owner: str | None


def change(
    session: Session,
    now: datetime,
    state: State,
    detail: str,
    *which: ColumnElement[bool],
    **values: Any,  # noqa: ANN401 - columns of any type
) -> Sequence[Changed]:
    """Bring the jobs that meet `which` to `state`, and return them; their row locks put a job's events in order."""
    ended: dict[str, Any] = {**FREE, "finished_at": now} if state in TERMINAL else {}
    rows = session.execute(
        update(Job)
        .where(*which)
        .values(state=state, **ended, **values)
        .returning(Job.id, Job.attempt, Job.webhook_url, Job.lease_owner)
        .execution_options(synchronize_session=False)
    )
    changed = [Changed(*row) for row in rows]
    record(session, now, state, detail, changed)
    return changed


def record(
    session: Session, now: datetime, state: State, detail: str, changed: Sequence[Changed]
) -> None:
    """Write down what has changed, for those who follow the jobs and those who look back."""
    if not changed:
        return
    common = {"at": now, "state": state, "detail": detail[:_LONGEST_DETAIL]}
    events = [
        {"job_id": job.id, "attempt": job.attempt, "worker": job.lease_owner, **common}
        for job in changed
    ]
    session.execute(insert(Event), events)
    deliveries = [
        {"job_id": job.id, "event": event.name, "created_at": now, "due_at": now}
        for event in events_of(state)
        for job in changed
        if job.webhook_url
    ]
    if deliveries:
        session.execute(insert(Delivery), deliveries)

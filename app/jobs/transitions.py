"""State transitions of a job: a conditional UPDATE with its event and webhook delivery.

All three are in one transaction. Nothing else writes `Job.state`. Each transition leaves an event;
one to a state in `EVENTS` leaves a delivery where the job has a webhook.
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
"""The columns of a job that no worker holds."""
# The length of the column.
_LONGEST_DETAIL = 255


class Changed(NamedTuple):
    """A job whose state has changed, as it is after the change."""

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
    """Bring the jobs that meet the conditions to `state`, and return them.

    The locks of their rows put the events of a job in order.
    """
    ended: dict[str, Any] = {}
    if state in TERMINAL:
        ended = {**FREE, "finished_at": now}
    changed = update(Job).where(*which).values(state=state, **ended, **values)
    rows = session.execute(
        changed.returning(
            Job.id, Job.attempt, Job.webhook_url, Job.lease_owner
        ).execution_options(synchronize_session=False)
    )
    jobs = [Changed(*row) for row in rows]
    record(session, now, state, detail, jobs)
    return jobs


def record(
    session: Session,
    now: datetime,
    state: State,
    detail: str,
    changed: Sequence[Changed],
) -> None:
    """Add the events of jobs that came to `state`, and the deliveries where they have ended."""
    if not changed:
        return
    common = {"at": now, "state": state, "detail": detail[:_LONGEST_DETAIL]}
    events = [
        {"job_id": job.id, "attempt": job.attempt, "worker": job.lease_owner, **common}
        for job in changed
    ]
    session.execute(insert(Event), events)
    addressed = [job for job in changed if job.webhook_url]
    deliveries: list[dict[str, object]] = []
    for event in events_of(state):
        due = {"event": event.name, "created_at": now, "due_at": now}
        deliveries += [{"job_id": job.id, **due} for job in addressed]
    if deliveries:
        session.execute(insert(Delivery), deliveries)

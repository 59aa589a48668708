"""Delivers webhooks: calls each due row of `deliveries` until it is accepted or given up.

Any number of processes may deliver. A process claims a delivery by moving its next attempt into
the future, so one that dies loses nothing: the delivery becomes due again.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import httpx
import structlog
from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app import loops
from app.db.models import Delivery, Job
from app.db.session import now, transaction
from app.settings import Settings
from app.webhooks import events
from app.webhooks.call import Message, Refused, call, new_client

_POLL_SECONDS = 1.0
_LONGEST_PAUSE = 30.0
_LOOP = "deliveries"
# Enough that this many slow receivers must be called at once before others have to wait.
_MOST_CALLS = 50
_MOST_ATTEMPTS = 8
_PAUSE_GROWTH = 5
# Longer than a call takes, yet short: a delivery whose process died is called again after it.
_CLAIM_SECONDS = 30.0

log = structlog.get_logger(__name__)


class ClaimedDelivery(NamedTuple):
    """A delivery that this process makes now."""

    id: uuid.UUID
    attempt: int
    url: str
    message: Message


class Outcome(NamedTuple):
    """The result of one call: accepted without an `error`, else called again after `retry_seconds`.

    `retry_seconds` is None after the last attempt.
    """

    error: str | None = None
    retry_seconds: float | None = None


async def deliver(settings: Settings) -> None:
    """Deliver until cancelled; after a failure, try again after a longer pause."""
    backoff = loops.Backoff(_LOOP, _POLL_SECONDS, _LONGEST_PAUSE)
    under_way: set[asyncio.Task[None]] = set()
    async with new_client() as client, asyncio.TaskGroup() as calls:
        while True:
            try:
                claimed = await _claim_some(_MOST_CALLS - len(under_way))
            except Exception as error:
                await asyncio.sleep(backoff.after(error))
                continue
            pause = backoff.after(None)
            for delivery in claimed:
                task = calls.create_task(_deliver(delivery, settings, client))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            if not claimed:
                await asyncio.sleep(pause)


async def _claim_some(most: int) -> Sequence[ClaimedDelivery]:
    if most == 0:
        return ()
    return await run_in_threadpool(claim, most)


def claim(most: int) -> Sequence[ClaimedDelivery]:
    """Claim at most `most` deliveries that are due, the longest due first."""
    with transaction() as session:
        at = now(session)
        ids = _postpone_due(session, at, most)
        claimed = (
            select(Delivery, Job)
            .join(Job, Job.id == Delivery.job_id)
            .where(Delivery.id.in_(ids))
        )
        return [
            _claimed(delivery, job, at) for delivery, job in session.execute(claimed)
        ]


def _postpone_due(session: Session, at: datetime, most: int) -> Sequence[uuid.UUID]:
    """Move the next attempt of due deliveries into the future, and return their ids."""
    due = (
        select(Delivery.id)
        .where(Delivery.due_at <= at, _is_known())
        .order_by(Delivery.due_at)
        .limit(most)
    )
    # The second look at due_at: another process may have claimed a row since the subquery saw it.
    postponed = (
        update(Delivery)
        .where(Delivery.id.in_(due.scalar_subquery()), Delivery.due_at <= at)
        .values(
            due_at=at + timedelta(seconds=_CLAIM_SECONDS), attempt=Delivery.attempt + 1
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(postponed).all()


def _is_known() -> ColumnElement[bool]:
    # During an upgrade an older version writes rows without an event, and a newer one may write
    # events that this version does not know: those are left to the newer one.
    return or_(Delivery.event.is_(None), Delivery.event.in_(events.BY_NAME))


def _claimed(delivery: Delivery, job: Job, at: datetime) -> ClaimedDelivery:
    event = _event_of(delivery, job)
    body = events.message_body(event, job, delivery.created_at)
    message = Message(f"msg_{delivery.id.hex}", at, body)
    return ClaimedDelivery(
        delivery.id, delivery.attempt, job.webhook_url or "", message
    )


def _event_of(delivery: Delivery, job: Job) -> events.WebhookEvent:
    if delivery.event is not None:
        return events.BY_NAME[delivery.event]
    # Versions that wrote no event called webhooks only for the end of a job, its one last state.
    return events.events_of(job.state)[0]


async def _deliver(
    delivery: ClaimedDelivery, settings: Settings, client: httpx.AsyncClient
) -> None:
    try:
        outcome = await _call(delivery, settings, client)
        await run_in_threadpool(_record, delivery, outcome)
    # An exception here would end the calls of all others. The claim runs out, and the receiver is
    # called once more under the same id.
    except Exception as error:
        log.warning("webhook not noted", delivery=str(delivery.id))
        loops.note_failure(_LOOP, error)


async def _call(
    delivery: ClaimedDelivery, settings: Settings, client: httpx.AsyncClient
) -> Outcome:
    assert settings.webhook_secret is not None  # nothing delivers without one
    try:
        await call(
            delivery.url,
            delivery.message,
            secret=settings.webhook_secret.get_secret_value(),
            private=settings.webhook_private_targets,
            client=client,
        )
    except Refused as error:
        log.warning(
            "webhook not taken",
            delivery=str(delivery.id),
            attempt=delivery.attempt,
            error=str(error),
        )
        return Outcome(str(error), _pause(delivery.attempt, settings))
    return Outcome()


def _pause(attempt: int, settings: Settings) -> float | None:
    """Return the seconds until the next attempt, or None after the last."""
    if attempt >= _MOST_ATTEMPTS:
        return None
    pause: float = settings.webhook_retry_seconds * _PAUSE_GROWTH ** (attempt - 1)
    return pause


def _record(delivery: ClaimedDelivery, outcome: Outcome) -> None:
    """Write the outcome of a call, unless a later attempt has begun meanwhile."""
    with transaction() as session:
        at = now(session)
        values: dict[str, object] = {
            "error": outcome.error,
            "delivered_at": None,
            "due_at": None,
        }
        if outcome.error is None:
            values["delivered_at"] = at
        if outcome.retry_seconds is not None:
            values["due_at"] = at + timedelta(seconds=outcome.retry_seconds)
        session.execute(
            update(Delivery)
            .where(Delivery.id == delivery.id, Delivery.attempt == delivery.attempt)
            .values(**values)
            .execution_options(synchronize_session=False)
        )

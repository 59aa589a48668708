"""Deliver what SQL says has to be delivered: webhooks of ended jobs, again and again until somebody has taken them.

Any number of processes may deliver: a delivery is claimed by moving its next attempt into the future.
"""

import asyncio
import json
import uuid
from datetime import datetime, timedelta
from typing import NamedTuple

import httpx
import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.db.models import Delivery, Job
from app.db.session import now, transaction
from app.jobs.presentation import present_job
from app.settings import Settings
from app.webhooks import call as webhooks

_LOOK_SECONDS = 1.0
_AT_ONCE = 50
"""As many slow receivers hold up the others."""
_MOST_ATTEMPTS = 8
_GROWTH = 5
_CALL_SECONDS = 30.0
"""Longer than a call takes, so that one whose process dies is soon another's."""

log = structlog.get_logger(__name__)


class Claimed(NamedTuple):
    """A delivery that this process has to make now."""

    id: uuid.UUID
    attempt: int
    sent_at: datetime
    url: str
    body: str


async def deliver(settings: Settings) -> None:
    """Deliver until cancelled; a database that is away is asked again."""
    under_way: set[asyncio.Task[None]] = set()
    async with webhooks.new_client() as client, asyncio.TaskGroup() as calls:
        while True:
            claimed = await _claim(_AT_ONCE - len(under_way))
            for delivery in claimed:
                call = calls.create_task(_deliver(delivery, settings, client))
                under_way.add(call)
                call.add_done_callback(under_way.discard)
            if not claimed:
                await asyncio.sleep(_LOOK_SECONDS)


async def _claim(most: int) -> list[Claimed]:
    try:
        return await run_in_threadpool(claim, most) if most else []
    except SQLAlchemyError as error:
        log.warning("deliveries put off", error=str(error))
        return []


def claim(most: int) -> list[Claimed]:
    """Take some deliveries that are due."""
    with transaction() as session:
        at = now(session)
        due = select(Delivery.id).where(Delivery.due_at <= at).order_by(Delivery.due_at).limit(most)
        ids = session.scalars(
            update(Delivery)
            .where(Delivery.id.in_(due.scalar_subquery()), Delivery.due_at <= at)
            .values(due_at=at + timedelta(seconds=_CALL_SECONDS), attempt=Delivery.attempt + 1)
            .returning(Delivery.id)
            .execution_options(synchronize_session=False)
        ).all()
        rows = session.execute(
            select(Delivery, Job).join(Job, Job.id == Delivery.job_id).where(Delivery.id.in_(ids))
        )
        return [
            Claimed(
                delivery.id,
                delivery.attempt,
                at,
                job.webhook_url or "",
                _message(job, delivery.created_at),
            )
            for delivery, job in rows
        ]


def _message(job: Job, at: datetime) -> str:
    data = present_job(job).model_dump(mode="json")
    return json.dumps({"type": f"job.{job.state}", "timestamp": at.isoformat(), "data": data})


async def _deliver(delivery: Claimed, settings: Settings, client: httpx.AsyncClient) -> None:
    assert settings.webhook_secret is not None  # nothing delivers without one
    noted: tuple[str | None, float | None] = (None, None)
    try:
        await webhooks.call(
            delivery.url,
            f"msg_{delivery.id.hex}",
            delivery.sent_at,
            delivery.body,
            secret=settings.webhook_secret.get_secret_value(),
            private=settings.webhook_private_targets,
            client=client,
        )
    except webhooks.Refused as error:
        pause = settings.webhook_retry_seconds * _GROWTH ** (delivery.attempt - 1)
        log.warning(
            "webhook not taken",
            delivery=str(delivery.id),
            attempt=delivery.attempt,
            error=str(error),
        )
        noted = (str(error), pause if delivery.attempt < _MOST_ATTEMPTS else None)
    try:
        await run_in_threadpool(_note, delivery, *noted)
    except SQLAlchemyError as error:  # it will be called once more
        log.warning("webhook not noted", delivery=str(delivery.id), error=str(error))


def _note(delivery: Claimed, error: str | None, pause: float | None) -> None:
    """Write down how a call went, and when the next is due, if any."""
    with transaction() as session:
        at = now(session)
        session.execute(
            update(Delivery)
            .where(Delivery.id == delivery.id, Delivery.attempt == delivery.attempt)
            .values(
                error=error,
                delivered_at=None if error else at,
                due_at=None if pause is None else at + timedelta(seconds=pause),
            )
            .execution_options(synchronize_session=False)
        )

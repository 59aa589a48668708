"""The webhook events. To add one, add a line to `EVENTS`."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from app.db.models import Job
from app.jobs.presentation import present_job
from convpress.states import State

Payload = Callable[[Job], Mapping[str, Any]]


class WebhookEvent(NamedTuple):
    """An event that a job's webhook is called for when the job enters `state`.

    `payload` builds the message's `data` when the webhook is called, not when the event happens.
    """

    name: str
    state: State
    payload: Payload


def job_payload(job: Job) -> Mapping[str, Any]:
    """Return the job as `GET /jobs/{id}` shows it."""
    return present_job(job).model_dump(mode="json")


# Rows of older versions name no event: see `app.webhooks.deliveries` before one of these goes.
EVENTS = (
    WebhookEvent("job.succeeded", "succeeded", job_payload),
    WebhookEvent("job.failed", "failed", job_payload),
    WebhookEvent("job.cancelled", "cancelled", job_payload),
)
"""Names are stable, because receivers and the table `deliveries` know them."""

BY_NAME: Mapping[str, WebhookEvent] = {event.name: event for event in EVENTS}


def events_of(state: State) -> tuple[WebhookEvent, ...]:
    """Return the events of jobs that enter a state.

    >>> [event.name for event in events_of("failed")], events_of("running")
    (['job.failed'], ())
    """
    return tuple(event for event in EVENTS if event.state == state)


def message_body(event: WebhookEvent, job: Job, at: datetime) -> str:
    """Return the JSON of an event that happened to a job at a time."""
    body = {"type": event.name, "timestamp": at.isoformat(), "data": event.payload(job)}
    return json.dumps(body)

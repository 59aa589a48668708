"""The webhooks as openapi.json describes them: what a receiver gets, and how it answers."""

from typing import Annotated

from fastapi import APIRouter, Header

from app.webhooks.events import EVENTS
from convpress.schemas import WebhookMessage

router = APIRouter(tags=["webhooks"])


def receive(
    message: WebhookMessage,
    webhook_id: Annotated[
        str, Header(description="The same in every attempt at this message")
    ],
    webhook_timestamp: Annotated[
        str, Header(description="The time of this attempt, in seconds since 1970")
    ],
    webhook_signature: Annotated[
        str,
        Header(
            description="v1, and the HMAC-SHA256 of id, time and body (Standard Webhooks)"
        ),
    ],
) -> None:
    """The service sends this to a job's `webhook_url`.

    Answer with a 2xx within 15 seconds. Otherwise the service sends it again, up to eight times.
    """


for event in EVENTS:
    router.add_api_route(
        event.name,
        receive,
        methods=["POST"],
        name=event.name,
        summary=f"A job has {event.state}"
        if event.state != "cancelled"
        else "A job was cancelled",
        status_code=204,
        response_description="Received",
        responses={"default": {"description": "Not received: it is sent again"}},
    )

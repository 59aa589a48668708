"""A job's changes of state and progress as server-sent events."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Security
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.auth.scopes import require
from app.db.models import Event, Job
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands
from app.jobs.presentation import eta_seconds
from app.jobs.watcher import JobWatcher
from app.openapi import problems
from app.routes.jobs import JobId
from convpress.states import TERMINAL

# Proxies close connections that are silent for longer.
_SILENCE_SECONDS = 15.0
# The second header tells nginx not to buffer the stream.
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["state", "progress"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "description": "Only of `state`"},
    },
    "required": ["event", "data"],
}

router = APIRouter(tags=["jobs"])

LastEventId = Annotated[
    Annotated[int, Field(ge=0, le=2**63 - 1)] | SkipJsonSchema[None],
    Header(
        description="`id` of the last event that you received; the stream continues after it"
    ),
]


@router.get(
    "/jobs/{job_id}/events",
    dependencies=[Security(require("read"))],
    response_class=StreamingResponse,
    responses={
        # OpenAPI has a field for the schema of one event since 3.2.
        200: {
            "content": {
                "text/event-stream": {
                    "x-item-schema": _EVENT,
                }
            }
        },
        204: {
            "description": "The job has ended, and all its events have been received"
        },
        **problems("job_not_found", "followers_exceeded"),
    },
)
async def follow_job(
    request: Request, job_id: JobId, last_event_id: LastEventId = None
) -> Response:
    """Follow a job by server-sent events until it has ended.

    Every change of state is one `state` event with an `id`. `Last-Event-ID` continues after a break
    without a gap. `progress` events show phase, progress and time left (`eta_seconds`) of a running
    job.
    """
    seen = last_event_id or 0
    job, events = await run_in_threadpool(_load, job_id, seen)
    if job.state in TERMINAL and not events:
        return Response(status_code=204)
    if request.app.state.watch.is_full:
        raise Problem(
            "followers_exceeded",
            "too many clients follow jobs at this moment; ask for the job instead, or try again",
            headers={"Retry-After": "5"},
        )
    stream = _stream(request.app.state.watch, job.id, seen)
    return StreamingResponse(stream, 200, _HEADERS, "text/event-stream")


async def _stream(
    watch: JobWatcher, job_id: uuid.UUID, seen: int
) -> AsyncIterator[bytes]:
    progress: tuple[str | None, float, float | None] | None = None
    async with watch.follow(job_id) as changed:
        while True:
            # Cleared before the look, or a change during it would be missed.
            changed.clear()
            try:
                job, events = await run_in_threadpool(_load, str(job_id), seen)
            except Problem:
                return  # the job was deleted
            for event in events:
                seen = event.id
                data = json.dumps(_state_data(event))
                yield format_sse_event(id=str(event.id), event="state", data_str=data)
            if job.state in TERMINAL:
                return
            standing = (job.phase, job.progress, eta_seconds(job))
            if job.state == "running" and progress != standing:
                progress = standing
                names = ("phase", "progress", "eta_seconds")
                data = json.dumps(dict(zip(names, standing, strict=True)))
                yield format_sse_event(event="progress", data_str=data)
            while not changed.is_set():
                try:
                    await asyncio.wait_for(changed.wait(), _SILENCE_SECONDS)
                except TimeoutError:
                    yield KEEPALIVE_COMMENT


def _load(job_id: str, seen: int) -> tuple[Job, list[Event]]:
    with transaction() as session:
        job = commands.get(session, job_id)
        return job, commands.events_after(session, job.id, seen)


def _state_data(event: Event) -> dict[str, object]:
    return {
        "state": event.state,
        "at": event.at.isoformat(),
        "attempt": event.attempt,
        "detail": event.detail,
    }

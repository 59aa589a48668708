"""A job's story as server-sent events: every change of its state, once and in order, and its progress meanwhile."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.db.models import Event, Job
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands
from app.jobs.watcher import JobWatcher
from app.openapi import problems
from app.routes.jobs import JobId
from convpress.states import TERMINAL

_SILENCE_SECONDS = 15.0
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["state", "progress"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "description": "Of `state` alone"},
    },
    "required": ["event", "data"],
}

router = APIRouter(tags=["jobs"])

LastEventId = Annotated[
    Annotated[int, Field(ge=0, le=2**63 - 1)] | SkipJsonSchema[None],
    Header(description="`id` of the last event that was received; those after it follow"),
]


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}},
        204: {"description": "The job has ended, and all its events have been received"},
        **problems("job_not_found"),
    },
)
async def follow_job(
    request: Request, job_id: JobId, last_event_id: LastEventId = None
) -> Response:
    """Follow a job by server-sent events until it has ended.

    `state` events have an `id` and none is left out, also after a break (`Last-Event-ID`); `progress` events tell how
    far a running job is, as often as somebody could want to know.
    """
    seen = last_event_id or 0
    job, events = await run_in_threadpool(_load, job_id, seen)
    if job.state in TERMINAL and not events:
        return Response(status_code=204)
    stream = _stream(request.app.state.watch, job.id, seen)
    return StreamingResponse(stream, 200, _HEADERS, "text/event-stream")


async def _stream(watch: JobWatcher, job_id: uuid.UUID, seen: int) -> AsyncIterator[bytes]:
    progress: tuple[str | None, float] | None = None
    async with watch.follow(job_id) as changed:
        while True:
            changed.clear()
            try:
                job, events = await run_in_threadpool(_load, str(job_id), seen)
            except Problem:
                return  # the job has been forgotten
            for event in events:
                seen = event.id
                yield format_sse_event(id=str(event.id), event="state", data_str=_told(event))
            if job.state in TERMINAL:
                return
            if job.state == "running" and progress != (job.phase, job.progress):
                progress = (job.phase, job.progress)
                told = json.dumps({"phase": job.phase, "progress": job.progress})
                yield format_sse_event(event="progress", data_str=told)
            while not changed.is_set():
                try:
                    await asyncio.wait_for(changed.wait(), _SILENCE_SECONDS)
                except TimeoutError:
                    yield KEEPALIVE_COMMENT


def _load(job_id: str, seen: int) -> tuple[Job, list[Event]]:
    with transaction() as session:
        job = commands.get(session, job_id)
        return job, commands.events_after(session, job.id, seen)


def _told(event: Event) -> str:
    told = {
        "state": event.state,
        "at": event.at.isoformat(),
        "attempt": event.attempt,
        "detail": event.detail,
    }
    return json.dumps(told)

"""`PATCH /jobs/{id}`: labels and note; `GET /jobs/{id}/log`: the log of a job."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Security
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import PlainTextResponse, Response

from app.auth.scopes import require
from app.db.session import transaction
from app.http.conditional import conditional_json, is_expected
from app.jobs import annotations, commands, logs
from app.jobs.presentation import job_json
from app.openapi import problems
from app.routes.jobs import JobId
from convpress import schemas

router = APIRouter(tags=["jobs"])

IfMatch = Annotated[
    str | SkipJsonSchema[None],
    Header(
        description="The `ETag` of the job that the change is meant for; without it, any"
    ),
]


@router.patch(
    "/jobs/{job_id}",
    dependencies=[Security(require("submit"))],
    response_model=schemas.Job,
    responses=problems(
        "job_not_found",
        "job_changed",
        "labels_invalid",
        "note_invalid",
        "request_invalid",
    ),
)
def change_job(
    request: Request,
    job_id: JobId,
    changes: schemas.JobChanges,
    if_match: IfMatch = None,  # noqa: ARG001 - documents the header; `is_expected` reads it
) -> Response:
    """Change the labels or the note of a job, whatever its state; returns the job."""
    note = changes.note
    if note is None and "note" in changes.model_fields_set:
        note = ""
    with transaction() as session:
        job = annotations.annotate(
            session,
            job_id,
            labels=changes.labels,
            note=note,
            is_expected=lambda job: is_expected(request, job_json(job)),
        )
    return conditional_json(request, job_json(job), {})


@router.get(
    "/jobs/{job_id}/log",
    dependencies=[Security(require("read"))],
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems("job_not_found"),
    },
)
def get_log(job_id: JobId) -> Response:
    """Return the log of a job: its last 200 events, and the end of what its process wrote."""
    with transaction() as session:
        text = logs.read(session, commands.get(session, job_id))
    return PlainTextResponse(text)

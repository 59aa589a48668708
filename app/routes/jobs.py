"""Jobs over HTTP: post, list, watch, cancel and delete them, and download their files."""

import re
import time
from pathlib import PurePosixPath
from typing import Annotated

import anyio
import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Security
from pydantic.json_schema import SkipJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, RedirectResponse, Response

from app import data_folder
from app.auth.quota import check_quota
from app.auth.scopes import require
from app.db.models import Job
from app.db.session import transaction
from app.errors import Problem, wants_page
from app.http.conditional import conditional_json, is_known
from app.http.download import Download, send_file
from app.jobs import commands
from app.jobs.advice import get_compressed
from app.jobs.presentation import href, job_json
from app.jobs.rows import JobRow
from app.openapi import JOB_FORM, SUBMISSION_PROBLEMS, problems
from app.queue.celery_client import enqueue
from app.settings import get_settings
from app.storage import artifact_key, get_storage
from app.uploads.retention import (
    EVALUATIONS,
    MODELS,
    SAMPLES,
    delete_artifacts,
    release,
)
from app.uploads.submission import Submission, receive_submission
from convpress import schemas
from convpress.formats import FORMATS, named
from convpress.options import COMPRESSION, Kind
from convpress.states import TERMINAL

# Clients that want to hear sooner use `wait` or the events.
_POLL_SECONDS = "1"

router = APIRouter(tags=["jobs"])

log = structlog.get_logger(__name__)

_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
IdempotencyKey = Annotated[
    str | SkipJsonSchema[None],
    Header(
        description="Any text; the same key with the same form gives the same job",
        # Not a constraint of the parameter: a bad key has a problem code of its own.
        json_schema_extra={"pattern": f"^{_IDEMPOTENCY_KEY.pattern}$"},
    ),
]

JobId = Annotated[
    str, Path(description="The job's `id`", json_schema_extra={"format": "uuid"})
]


@router.post(
    "/jobs",
    dependencies=[Security(require("submit")), Depends(check_quota)],
    status_code=202,
    response_model=schemas.Job,
    openapi_extra=JOB_FORM,
    responses={
        303: {"description": "The job's page, where `Accept` names `text/html`"},
        **problems(
            *SUBMISSION_PROBLEMS,
            "budget_missing",
            "budget_invalid",
            "evaluation_invalid",
            "precision_invalid",
            "target_invalid",
            "threads_invalid",
        ),
    },
)
async def create_job(
    request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Post a model and a budget; the answer comes at once, and the compression follows.

    The body is stored as it arrives, and refused as soon as a fault in it is known.
    """
    return await post_job(request, idempotency_key, COMPRESSION)


async def post_job(request: Request, key: str | None, kind: Kind) -> Response:
    """Receive the form of a new job, add the job, and answer with it."""
    _check_key(key)
    data_folder.check(get_settings())
    async with receive_submission(request, kind=kind) as submission:
        job, new = await run_in_threadpool(_accept, submission, key)
    # A browser without JavaScript sent the form itself.
    if wants_page(request):
        return RedirectResponse(f"/dashboard{href(job)}", 303)
    headers = {"Location": href(job), "Retry-After": _POLL_SECONDS}
    if not new:
        headers["Idempotency-Replayed"] = "true"
    return Response(job_json(job), 202, headers, "application/json")


def _check_key(key: str | None) -> None:
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem(
            "idempotency_key_invalid",
            "an idempotency key is 1 to 255 visible ASCII characters",
            field="Idempotency-Key",
            expected="for example a UUID",
            got=key[:80],
        )


def _accept(submission: Submission, key: str | None) -> tuple[Job, bool]:
    """Store the model and commit the job, and only then tell the workers."""
    # Once more: the upload may have taken long.
    data_folder.check(get_settings())
    with transaction() as session:
        job, new = commands.create(session, get_storage(), submission, key)
    if new:
        log.info("accepted", job_id=str(job.id))
        enqueue(job.id)
    return job, new


@router.get(
    "/jobs/{job_id}",
    dependencies=[Security(require("read"))],
    response_model=schemas.Job,
    responses={
        304: {"description": "Nothing has changed since the ETag"},
        **problems("job_not_found"),
    },
)
async def get_job(
    request: Request,
    job_id: JobId,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=60,
            description="Seconds to wait for the job's end or, with If-None-Match, for a change",
        ),
    ] = 0,
) -> Response:
    """Return a job. `Retry-After` says when to ask again; it is missing when the job has ended."""
    job = await request.app.state.job_loader.load(job_id)
    # In a crowd the answer comes at once, and the client asks again.
    if wait and job.state not in TERMINAL and not request.app.state.watch.is_full:
        job = await _wait(request, job, wait)
    return job_response(request, job)


def job_response(request: Request, job: JobRow) -> Response:
    """Answer with the JSON of a job, or with 304 where the client has it."""
    headers = {}
    if job.state not in TERMINAL:
        headers["Retry-After"] = _POLL_SECONDS
    return conditional_json(request, job_json(job), headers)


async def _wait(request: Request, job: JobRow, seconds: float) -> JobRow:
    """Return the job when it has ended or differs from the client's, or after some seconds."""
    is_conditional = "if-none-match" in request.headers
    began = time.perf_counter()
    with anyio.move_on_after(seconds):
        async with request.app.state.watch.follow(job.id) as changed:
            while True:
                # Cleared before the look, or a change during it would be missed.
                changed.clear()
                job = await request.app.state.job_loader.load(str(job.id))
                is_news = is_conditional and not is_known(request, job_json(job))
                if is_news or job.state in TERMINAL:
                    break
                await changed.wait()
    # app.http.request_context leaves this time out of the request's duration.
    request.state.held_seconds = time.perf_counter() - began
    return job


@router.post(
    "/jobs/{job_id}/cancel",
    dependencies=[Security(require("submit"))],
    response_model=schemas.Job,
    responses=problems("job_not_found", "job_finished"),
)
def cancel_job(job_id: JobId) -> Response:
    """Cancel a job; its process ends within two seconds. A second call changes nothing."""
    with transaction() as session:
        job = commands.cancel(session, job_id)
    return Response(job_json(job), 200, None, "application/json")


@router.delete(
    "/jobs/{job_id}",
    dependencies=[Security(require("submit"))],
    status_code=204,
    responses=problems("job_not_found", "job_unfinished"),
)
def delete_job(job_id: JobId) -> None:
    """Delete a job that has ended, its files, and its model if no other job uses it."""
    storage = get_storage()
    # The row first: a crash after it leaves only files without a row, which the sweeper removes.
    with transaction() as session:
        job = commands.forget(session, job_id)
    delete_artifacts(storage, job.id)
    with transaction() as session:
        release(session, storage, MODELS, job.model_sha256, None)
    if job.samples_sha256 is not None:
        with transaction() as session:
            release(session, storage, SAMPLES, job.samples_sha256, None)
    if job.evaluation_sha256 is not None:
        with transaction() as session:
            release(session, storage, EVALUATIONS, job.evaluation_sha256, None)


@router.head(
    "/jobs/{job_id}/artifact",
    dependencies=[Security(require("read"))],
    include_in_schema=False,
)
@router.get(
    "/jobs/{job_id}/artifact",
    dependencies=[Security(require("read"))],
    response_class=FileResponse,
    responses={
        200: {
            "content": {
                "application/octet-stream": {
                    "schema": {"type": "string", "format": "binary"}
                }
            }
        },
        206: {"description": "The requested range"},
        307: {"description": "An address in the bucket that is valid for five minutes"},
        304: {"description": "The client has this artifact"},
        **problems(
            "job_not_found",
            "job_unfinished",
            "job_failed",
            "artifact_missing",
            "file_gone",
            "file_damaged",
            "range_not_satisfiable",
        ),
    },
)
def get_artifact(request: Request, job_id: JobId) -> Response:
    """Download the compressed model, whole or in ranges. The `ETag` is its SHA-256."""
    with transaction() as session:
        job = get_compressed(session, job_id)
    assert job.artifact_sha256 is not None  # a job that has succeeded has both files
    file = Download(
        artifact_key(job.id, job.artifact_sha256),
        job.artifact_sha256,
        "application/octet-stream",
        _artifact_name(job),
        is_suspect=job.artifact_damaged_at is not None,
        on_check=lambda is_damaged: _mark(job, is_damaged=is_damaged),
    )
    return _send(request, file)


def _mark(job: Job, *, is_damaged: bool) -> None:
    """Note in the job whether its artifact is damaged, if that has changed."""
    if is_damaged == (job.artifact_damaged_at is not None):
        return
    with transaction() as session:
        commands.mark_artifact(session, job.id, is_damaged=is_damaged)


def _artifact_name(job: Job) -> str:
    """Return the name of a job's artifact: the upload's, with `convpress` before the suffix."""
    upload = PurePosixPath(job.filename)
    suffix = FORMATS[named(job.model.format)].download_suffix(upload.suffix)
    return f"{upload.stem}.convpress{suffix}"


@router.head(
    "/jobs/{job_id}/report",
    dependencies=[Security(require("read"))],
    include_in_schema=False,
)
@router.get(
    "/jobs/{job_id}/report",
    dependencies=[Security(require("read"))],
    response_class=FileResponse,
    responses={
        200: {"content": {"application/json": {"schema": {"type": "object"}}}},
        304: {"description": "The client has this report"},
        **problems(
            "job_not_found",
            "job_unfinished",
            "job_failed",
            "file_gone",
            "file_damaged",
            "range_not_satisfiable",
        ),
    },
)
def get_report(request: Request, job_id: JobId) -> Response:
    """Download the report: every layer, its replacement, and its cost; or the advice, as JSON."""
    with transaction() as session:
        job = commands.get_succeeded(session, job_id)
    assert job.report_sha256 is not None  # as above
    key = artifact_key(job.id, job.report_sha256)
    return _send(request, Download(key, job.report_sha256, "application/json", None))


def _send(request: Request, file: Download) -> Response:
    redirect = get_settings().redirect_downloads
    return send_file(request, get_storage(), file, redirect=redirect)

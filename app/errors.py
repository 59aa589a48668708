"""Errors as RFC 9457 problem documents: one table of codes, one exception that names a code, one translation."""

import errno
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app.storage import StorageUnavailable
from convpress.refusal import Code, Refusal
from convpress.schemas import PROBLEM_MEDIA_TYPE

log = structlog.get_logger(__name__)


class Kind(NamedTuple):
    """What every problem of one code has in common."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = {
    # The input itself, told at once or, after a look inside, as the error of a failed job.
    Code.BUDGET_MISSING: Kind(422, "The budget is missing"),
    Code.BUDGET_INVALID: Kind(422, "The budget cannot be read"),
    Code.BUDGET_UNREACHABLE: Kind(422, "No factorisation reaches the budget"),
    Code.COST_TABLE_INVALID: Kind(422, "The cost table cannot be used"),
    Code.COST_TABLE_MISSING: Kind(422, "No cost table says how long layers take"),
    Code.FORM_INVALID: Kind(422, "The form of factorisation is unknown or does not apply"),
    Code.INPUT_SHAPE_REQUIRED: Kind(422, "The model does not say its input shape"),
    Code.INPUT_SHAPE_INVALID: Kind(422, "The input shape cannot be read"),
    Code.INPUT_SHAPE_MISMATCH: Kind(422, "The input shape does not fit the model"),
    Code.CALIBRATION_INVALID: Kind(422, "The calibration cannot be had"),
    Code.INPUT_RANGE_INVALID: Kind(422, "The input's values cannot be read"),
    Code.SAMPLES_INVALID: Kind(422, "The samples cannot be used"),
    Code.SAMPLES_GONE: Kind(410, "The samples are no longer stored"),
    Code.MODEL_MISSING: Kind(422, "The model is missing"),
    Code.MODEL_EMPTY: Kind(422, "The model is an empty file"),
    Code.MODEL_UNRECOGNISED: Kind(422, "The file is not a model"),
    Code.MODEL_TRUNCATED: Kind(422, "The model is cut short"),
    Code.MODEL_PICKLED: Kind(422, "The file is a Python pickle, not an exported model"),
    Code.MODEL_INVALID: Kind(422, "The model cannot be loaded or run"),
    Code.MODEL_UNSAFE: Kind(422, "The model holds what no exported network needs"),
    Code.MODEL_OVER_LIMIT: Kind(
        422, "The model is larger or deeper inside than this service takes"
    ),
    Code.MODEL_UNSUPPORTED: Kind(422, "The model uses what is not supported"),
    Code.MODEL_GONE: Kind(410, "The model is no longer stored"),
    Code.NOTHING_TO_COMPRESS: Kind(422, "The model has nothing to compress"),
    Code.VERIFICATION_FAILED: Kind(422, "The compressed model does not do what the original does"),
    Code.OUT_OF_MEMORY: Kind(422, "The model needs more memory than a job may use"),
    Code.ENGINE_ERROR: Kind(500, "The engine failed on this model"),
    Code.JOB_TIMEOUT: Kind(422, "The job took longer than it may"),
    Code.WORKER_LOST: Kind(500, "The workers that ran the job died"),
    Code.DEVICE_UNAVAILABLE: Kind(503, "The device that jobs compute on is not there"),
    Code.STORAGE_FULL: Kind(507, "The disk is full"),
    # The request.
    "request_invalid": Kind(422, "The request cannot be understood"),
    "multipart_invalid": Kind(400, "The multipart body is malformed"),
    "media_type_unsupported": Kind(415, "The body is not a multipart form"),
    "field_unknown": Kind(422, "The form has a field that does not exist"),
    "field_repeated": Kind(422, "The form has a field twice"),
    "field_invalid": Kind(422, "The field is no short text"),
    Code.LABELS_INVALID: Kind(422, "The labels cannot be read"),
    "model_uri_invalid": Kind(422, "The model's address cannot be used"),
    "webhook_invalid": Kind(422, "The webhook cannot be called"),
    "sha256_invalid": Kind(422, "The SHA-256 cannot be read"),
    "model_ambiguous": Kind(422, "The model is given in two ways"),
    "idempotency_key_invalid": Kind(400, "The idempotency key cannot be read"),
    "idempotency_key_reused": Kind(422, "The idempotency key was used for another job"),
    "upload_too_large": Kind(413, "The model is larger than this service takes"),
    "cursor_invalid": Kind(400, "The cursor is not one that this service gave"),
    "range_not_satisfiable": Kind(416, "The range is not part of the file"),
    # The door.
    "key_missing": Kind(401, "The request carries no key"),
    "key_invalid": Kind(401, "The key is unknown or revoked"),
    "scope_missing": Kind(403, "The key may not do this"),
    "keys_required": Kind(403, "The service has no keys and serves its own machine alone"),
    "origin_refused": Kind(403, "Pages and names of other sites may not use the service"),
    "rate_exceeded": Kind(429, "Too many requests"),
    "quota_exceeded": Kind(429, "The owner has used up what is granted"),
    # What was asked for.
    "not_found": Kind(404, "There is nothing here"),
    "method_not_allowed": Kind(405, "The method does not apply here"),
    "job_not_found": Kind(404, "There is no such job"),
    "model_not_found": Kind(404, "There is no such model"),
    "job_unfinished": Kind(409, "The job has not finished"),
    "job_finished": Kind(409, "The job has ended already"),
    "job_failed": Kind(409, "The job has ended without a result"),
    "file_gone": Kind(410, "The file is no longer stored"),
    # The service.
    "internal_error": Kind(500, "The service failed"),
    "database_unavailable": Kind(503, "The database does not answer"),
    "storage_unavailable": Kind(503, "The artifact store does not answer"),
    "not_ready": Kind(503, "The service is not ready"),
}
"""Every code with its HTTP status and title; docs/api.md lists the same."""

_NEWER = Kind(
    422, "The model was not compressed"
)  # a job's problem may come from a worker newer than this process


ProblemPage = Callable[[Request, Mapping[str, Any], Mapping[str, str] | None], Response]
"""Shows a problem document to a person."""


class Problem(Exception):
    """What the API refuses or cannot do; `code` is a key of KINDS and carries the status."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        got: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers
        self.members = {
            "code": code,
            "detail": detail,
            "field": field,
            "expected": expected,
            "got": got,
        }


def document(
    members: Mapping[str, Any], instance: str, status: int | None = None
) -> dict[str, Any]:
    """Complete `code`, `detail` and what else is known to a problem document about `instance`.

    >>> document({"code": "job_not_found", "detail": "no job 7"}, "/jobs/7")["status"]
    404
    """
    code = members["code"]
    kind = KINDS.get(code, _NEWER)
    complete = {
        "type": f"urn:convpress:problem:{code}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": members["detail"],
        "instance": instance,
        "code": code,
        **{name: members.get(name) for name in ("field", "expected", "got")},
    }
    return {name: value for name, value in complete.items() if value is not None}


def respond(
    request: Request,
    members: Mapping[str, Any],
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer a request with a problem: as a page where a browser wants one, else as JSON."""
    content = document(members, request.url.path, status)
    page: ProblemPage | None = request.app.state.problem_page
    if page and wants_page(request):
        return page(request, content, headers)
    return JSONResponse(content, content["status"], headers, PROBLEM_MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Tell whether a person's browser asks, and not a script."""
    return "text/html" in request.headers.get("accept", "")


def install(app: FastAPI, page: ProblemPage | None = None) -> None:
    """Let the application answer every known error as a problem.

    `app.http.request_context` answers the unknown ones.
    """
    app.state.problem_page = page
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _system)
    for error in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(error, _database)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error.members, headers=error.headers)


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return respond(request, error.as_dict())


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][1])  # behind where it stands, and before the place in its list
    return respond(
        request,
        {
            "code": "request_invalid",
            "detail": f"{field}: {first['msg']}",
            "field": field,
            "got": str(first.get("input"))[:100],
        },
    )


def _http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "request_invalid")
    members = {"code": code, "detail": f"{request.method} {request.url.path}: {error.detail}"}
    headers = {
        **(error.headers or {}),
        **({"Allow": _allowed(request)} if error.status_code == 405 else {}),
    }
    return respond(request, members, error.status_code, headers)


def _allowed(request: Request) -> str:
    """List the methods of the path; Starlette knows those of the first route that it tried alone."""

    def applies(method: str) -> bool:
        return any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )

    return ", ".join(filter(applies, ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")))


def _system(request: Request, error: Exception) -> Response:
    """A full disk and a store that is away are told as such; any other failure of the system is unexpected."""
    if isinstance(error, StorageUnavailable):
        log.error("the artifact store does not answer", error=str(error))
        members = {
            "code": "storage_unavailable",
            "detail": "the artifact store does not answer; try again in a moment",
        }
        return respond(request, members, headers={"Retry-After": "5"})
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return _full(request, error)


def _database(request: Request, error: Exception) -> Response:
    cause = getattr(error, "orig", None)
    if (
        isinstance(cause, sqlite3.Error)
        and getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    ):
        return _full(request, error)
    log.error("the database does not answer", error=str(cause or error))
    members = {
        "code": "database_unavailable",
        "detail": "the database does not answer; try again in a moment",
    }
    return respond(request, members, headers={"Retry-After": "5"})


def _full(request: Request, error: Exception) -> Response:
    log.error("the disk is full", error=str(error))
    return respond(
        request, {"code": "storage_full", "detail": "the service's disk is full; nothing was kept"}
    )

"""Errors as problem documents (RFC 9457).

`PROBLEM_TYPES` lists the codes, `Problem` is the exception that names one, and `install` translates
exceptions into answers.
"""

import errno
import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from app import data_folder, validation
from app.data_folder import DataFolderGone
from app.settings import get_settings
from app.storage import StorageUnavailable
from convpress.refusal import Code, Refusal
from convpress.schemas import PROBLEM_MEDIA_TYPE

if (
    TYPE_CHECKING
):  # the worker writes problems too, and would import FastAPI for nothing
    from fastapi import FastAPI

log = structlog.get_logger(__name__)


class ProblemType(NamedTuple):
    """The status and title that all problems of one code share."""

    status: int
    title: str


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    # The input: refused at once, or the error of a failed job after a look inside.
    Code.BUDGET_MISSING: ProblemType(422, "The budget is missing"),
    Code.BUDGET_INVALID: ProblemType(422, "The budget cannot be parsed"),
    Code.BUDGET_UNREACHABLE: ProblemType(422, "No factorisation reaches the budget"),
    Code.ACCOUNT_INCOMPLETE: ProblemType(
        422, "The budget counts operators whose cost is not known"
    ),
    Code.COST_TABLE_INVALID: ProblemType(422, "The cost table is invalid"),
    Code.COST_TABLE_MISSING: ProblemType(
        422, "There is no cost table to predict the time of layers"
    ),
    Code.FORM_INVALID: ProblemType(
        422, "Unknown or inapplicable form of factorisation"
    ),
    Code.INPUT_SHAPE_REQUIRED: ProblemType(
        422, "The model does not contain its input shape"
    ),
    Code.INPUT_SHAPE_INVALID: ProblemType(422, "The input shape cannot be parsed"),
    Code.INPUT_SHAPE_MISMATCH: ProblemType(
        422, "The input shape does not fit the model"
    ),
    Code.CALIBRATION_INVALID: ProblemType(422, "Unknown or inconsistent calibration"),
    Code.INPUT_RANGE_INVALID: ProblemType(422, "The input range cannot be parsed"),
    Code.SAMPLES_INVALID: ProblemType(422, "The samples cannot be used"),
    Code.SAMPLES_GONE: ProblemType(410, "The samples are no longer stored"),
    Code.EVALUATION_INVALID: ProblemType(422, "The evaluation cannot be used"),
    Code.EVALUATION_GONE: ProblemType(410, "The evaluation is no longer stored"),
    Code.MODEL_MISSING: ProblemType(422, "The model is missing"),
    Code.MODEL_EMPTY: ProblemType(422, "The model is an empty file"),
    Code.MODEL_UNRECOGNISED: ProblemType(422, "The file is not a model"),
    Code.MODEL_TRUNCATED: ProblemType(422, "The model is truncated"),
    Code.MODEL_PICKLED: ProblemType(
        422, "The file is a Python pickle, not an exported model"
    ),
    Code.MODEL_INVALID: ProblemType(422, "The model cannot be loaded or run"),
    Code.MODEL_UNSAFE: ProblemType(
        422, "The model contains constructs that no exported network needs"
    ),
    Code.MODEL_OVER_LIMIT: ProblemType(
        422, "The model exceeds a limit of size or nesting"
    ),
    Code.MODEL_UNSUPPORTED: ProblemType(
        422, "The model has an unsupported format or feature"
    ),
    Code.MODEL_GONE: ProblemType(410, "The model is no longer stored"),
    Code.NOTHING_TO_COMPRESS: ProblemType(422, "The model has nothing to compress"),
    Code.TARGET_INVALID: ProblemType(422, "There is no cost table for the target"),
    Code.THREADS_INVALID: ProblemType(422, "Invalid number of threads"),
    Code.PRECISION_INVALID: ProblemType(
        422, "The model does not support this precision"
    ),
    Code.VERIFICATION_FAILED: ProblemType(
        422, "The outputs of the compressed model differ from the original's"
    ),
    Code.OUT_OF_MEMORY: ProblemType(
        422, "The model needs more memory than a job may use"
    ),
    Code.ENGINE_ERROR: ProblemType(500, "The engine failed on this model"),
    Code.JOB_TIMEOUT: ProblemType(422, "The job exceeded its time limit"),
    Code.WORKER_LOST: ProblemType(500, "The workers that ran the job died"),
    Code.DEVICE_UNAVAILABLE: ProblemType(
        503, "The device that jobs compute on is not available"
    ),
    Code.STORAGE_FULL: ProblemType(507, "The disk is full"),
    # The request.
    "request_invalid": ProblemType(422, "The request is invalid"),
    "length_ambiguous": ProblemType(400, "The request has two lengths"),
    "headers_too_large": ProblemType(431, "The address and the headers are too long"),
    "multipart_invalid": ProblemType(400, "The multipart body is malformed"),
    "media_type_unsupported": ProblemType(415, "The body is not a multipart form"),
    "field_unknown": ProblemType(422, "The form has an unknown field"),
    "field_repeated": ProblemType(422, "The form has a repeated field"),
    "field_invalid": ProblemType(422, "The field is too long or not text"),
    Code.LABELS_INVALID: ProblemType(422, "The labels cannot be parsed"),
    "model_uri_invalid": ProblemType(422, "The model's address cannot be used"),
    "webhook_invalid": ProblemType(422, "The webhook cannot be called"),
    "sha256_invalid": ProblemType(422, "The SHA-256 cannot be parsed"),
    "model_ambiguous": ProblemType(422, "The model is given in two ways"),
    "idempotency_key_invalid": ProblemType(400, "The idempotency key is invalid"),
    "idempotency_key_reused": ProblemType(
        422, "The idempotency key was used with a different request"
    ),
    "upload_too_large": ProblemType(413, "The model exceeds the size limit"),
    "body_too_large": ProblemType(413, "The body of the request is too large"),
    "cursor_invalid": ProblemType(400, "The cursor does not come from this service"),
    "range_not_satisfiable": ProblemType(416, "The range is not part of the file"),
    # Access.
    "key_missing": ProblemType(401, "The request has no key"),
    "key_invalid": ProblemType(401, "The key is unknown, revoked or expired"),
    "scope_missing": ProblemType(403, "The key lacks the required scope"),
    "keys_required": ProblemType(
        403, "The service has no keys and serves only its own machine"
    ),
    "origin_refused": ProblemType(
        403, "The request comes from another site or host name"
    ),
    "rate_exceeded": ProblemType(429, "Too many requests"),
    "quota_exceeded": ProblemType(429, "The owner's quota is exhausted"),
    # The resource.
    "not_found": ProblemType(404, "No resource has this path"),
    "method_not_allowed": ProblemType(405, "The resource does not support this method"),
    "job_not_found": ProblemType(404, "No job has this id"),
    "model_not_found": ProblemType(404, "No model has this SHA-256"),
    "job_unfinished": ProblemType(409, "The job has not finished"),
    "job_finished": ProblemType(409, "The job has already ended"),
    "job_changed": ProblemType(412, "The job is not as the request expects it"),
    "note_invalid": ProblemType(422, "The note is too long or not text"),
    "artifact_missing": ProblemType(409, "The job makes no artifact"),
    "job_failed": ProblemType(409, "The job ended without a result"),
    "file_gone": ProblemType(410, "The file is no longer stored"),
    "file_damaged": ProblemType(410, "The stored file is damaged"),
    "report_unreadable": ProblemType(409, "The service cannot read the job's report"),
    # The service.
    "internal_error": ProblemType(500, "The service failed"),
    "database_unavailable": ProblemType(503, "The database does not answer"),
    "storage_unavailable": ProblemType(503, "The artifact store does not answer"),
    "followers_exceeded": ProblemType(503, "Too many clients follow jobs"),
    "not_ready": ProblemType(503, "The service is not ready"),
}
"""Every code with its HTTP status and title; docs/api.md lists the same."""

# The type of codes that are not listed: the error of a job may come from a newer worker.
_UNKNOWN_TYPE = ProblemType(422, "The model was not compressed")


ProblemPage = Callable[[Request, Mapping[str, Any], Mapping[str, str] | None], Response]
"""Renders a problem document, with further response headers, as a page."""


class Problem(Exception):
    """A refusal or failure of the API; `code` is a key of `PROBLEM_TYPES`."""

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


_LONGEST_PATH = 300


def document(
    members: Mapping[str, Any], instance: str, status: int | None = None
) -> dict[str, Any]:
    """Return the problem document about `instance` of a problem's members.

    `status` replaces the status of the problem's type. The path of a request may be of any length:
    the document has its first characters.

    >>> document({"code": "job_not_found", "detail": "no job 7"}, "/jobs/7")["status"]
    404
    """
    code = members["code"]
    kind = PROBLEM_TYPES.get(code, _UNKNOWN_TYPE)
    complete = {
        "type": f"urn:convpress:problem:{code}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": members["detail"],
        "instance": instance[:_LONGEST_PATH],
        "code": code,
        **{name: members.get(name) for name in ("field", "expected", "got")},
    }
    return {name: value for name, value in complete.items() if value is not None}


DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeoutError)
"""What a database raises that does not answer; others of SQLAlchemy are faults of this code."""


def respond(
    request: Request,
    members: Mapping[str, Any],
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with a problem, as a page for a browser and as JSON otherwise."""
    content = document(members, request.url.path, status)
    page: ProblemPage | None = request.app.state.problem_page
    if page and wants_page(request):
        return page(request, content, headers)
    return JSONResponse(content, content["status"], headers, PROBLEM_MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks for a page, and not a script for JSON."""
    return "text/html" in request.headers.get("accept", "")


def install(app: "FastAPI", page: ProblemPage | None = None) -> None:
    """Let the application answer every expected exception as a problem.

    `app.http.request_context` answers the unexpected ones.
    """
    from fastapi.exceptions import RequestValidationError

    app.state.problem_page = page
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _system)
    for error in DATABASE_ERRORS:
        app.add_exception_handler(error, answer_database)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return respond(request, error.members, headers=error.headers)


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return respond(request, error.as_dict())


def _validation(request: Request, error: Exception) -> Response:
    from fastapi.exceptions import RequestValidationError

    assert isinstance(error, RequestValidationError)
    members = validation.problem_members(error.errors()[0], request)
    return respond(request, members)


_STARLETTE_CODES = {404: "not_found", 405: "method_not_allowed"}


def _http(request: Request, error: Exception) -> Response:
    """Answer Starlette's own errors: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    code = _STARLETTE_CODES.get(error.status_code, "request_invalid")
    path = request.url.path[:_LONGEST_PATH]
    members = {"code": code, "detail": f"{request.method} {path}: {error.detail}"}
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return respond(request, members, error.status_code, headers)


def _allowed(request: Request) -> str:
    """List the path's methods; Starlette lists only those of the first route with that path."""

    def applies(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(
            route.matches(scope)[0] is Match.FULL for route in request.app.routes
        )

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return ", ".join(filter(applies, methods))


def _system(request: Request, error: Exception) -> Response:
    """Answer a full disk, an unreachable store and a missing data folder.

    Other errors of the system are unexpected.
    """
    if isinstance(error, DataFolderGone) or _is_data_folder_gone(error):
        log.error("the data folder is gone", error=str(error))
        members = {
            "code": "storage_unavailable",
            "detail": str(DataFolderGone()),
            "field": "data_folder",
        }
        return respond(request, members, headers={"Retry-After": "5"})
    if isinstance(error, StorageUnavailable):
        log.error("the artifact store does not answer", error=str(error))
        return _unavailable(request, "storage_unavailable", "artifact store")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(request, error)
    raise error


def _is_data_folder_gone(error: Exception) -> bool:
    """Tell whether a file is missing because the whole folder is."""
    if not isinstance(error, FileNotFoundError):
        return False
    try:
        data_folder.check(get_settings())
    except DataFolderGone:
        return True
    return False


def answer_database(request: Request, error: Exception) -> Response:
    """Answer where the database does not: with `database_unavailable`, or for a full disk."""
    cause = getattr(error, "orig", None)
    sqlite_code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(cause, sqlite3.Error) and sqlite_code == sqlite3.SQLITE_FULL:
        return _full(request, error)
    log.error("the database does not answer", error=str(cause or error))
    return _unavailable(request, "database_unavailable", "database")


def _unavailable(request: Request, code: str, part: str) -> Response:
    detail = f"the {part} does not answer; try again in a moment"
    return respond(
        request, {"code": code, "detail": detail}, headers={"Retry-After": "5"}
    )


def _full(request: Request, error: Exception) -> Response:
    log.error("the disk is full", error=str(error))
    detail = "the service's disk is full; nothing was stored"
    return respond(request, {"code": "storage_full", "detail": detail})

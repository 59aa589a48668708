"""Gives every request an id, a trace, a line in the log and, whatever fails, an answer.

Reads that succeed are logged at DEBUG, everything else at INFO.
"""

import logging
import re
import time
import uuid
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.errors import respond
from app.tracing import current_request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HEADER = "X-Request-ID"
# Other ids could break lines of the log or of the response's headers.
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)
# Tells at almost no cost whether a level is logged; structlog builds the event first.
_stdlib_log = logging.getLogger(__name__)


class RequestContext:
    """ASGI middleware, outermost of the application's own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get(HEADER))
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        token = current_request.set(request_id)
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            tracing.span(
                scope["method"], kind="server", parent=headers.get("traceparent")
            ) as span,
        ):
            try:
                await self._serve(scope, receive, answer)
            finally:
                current_request.reset(token)
                if span is not None:
                    _describe(span, scope, answer.status, request_id)
                # A client that went away has no answer, and no duration to count.
                if answer.started_at is not None:
                    _count(scope, answer.status, answer.started_at - started)
                _log(scope, answer.status, time.perf_counter() - started)

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Serve a request, and answer an unexpected error with 500."""
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            log.info("the client went away")
        except Exception:
            log.exception("unexpected error")
            if answer.status:
                raise  # too late for another answer; the server closes the connection
            members = {
                "code": "internal_error",
                "detail": f"the service failed; its log has details under {answer.request_id}",
            }
            await respond(Request(scope), members)(scope, receive, answer.send)


class _Answer:
    """Sends a request's answer under its id, and remembers its status and when it began."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self.started_at: float | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started_at = time.perf_counter()
            MutableHeaders(scope=message)[HEADER] = self.request_id
        await self._send(message)


def _log(scope: Scope, status: int, seconds: float) -> None:
    # Clients poll: hundreds of lines that say "nothing new" would hide the others.
    is_plain_read = scope["method"] in ("GET", "HEAD") and 0 < status < 400
    if is_plain_read and not _stdlib_log.isEnabledFor(logging.DEBUG):
        return
    write = log.debug if is_plain_read else log.info
    write(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        seconds=round(seconds, 4),
    )


def _count(scope: Scope, status: int, seconds: float) -> None:
    """Count a request, without the time that the client asked for by `wait`."""
    held = scope.get("state", {}).get("held_seconds", 0.0)
    counts = scope["app"].state.request_counts
    counts.count(scope["method"], _route(scope), status, max(0.0, seconds - held))


def _describe(span: "Span", scope: Scope, status: int, request_id: str) -> None:
    # The route and not the path names the span: collectors group spans by name.
    route = _route(scope)
    span.update_name(f"{scope['method']} {route or 'unknown'}")
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("convpress.request_id", request_id)
    if route:
        span.set_attribute("http.route", route)


def _route(scope: Scope) -> str | None:
    """Return the route's path template, or the path of a mounted application; None for neither."""
    return getattr(scope.get("route"), "path", None) or scope.get("root_path") or None


def _request_id(header: str | None) -> str:
    """Return the caller's id if it is safe, else a new one."""
    if header and _SAFE_ID.fullmatch(header):
        return header
    return uuid.uuid4().hex

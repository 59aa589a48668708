"""What surrounds every request: an id in its log and its response, a line in the log, an answer come what may.

Reads that succeed are logged at DEBUG, all else at INFO.
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
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger(__name__)
_plain = logging.getLogger(__name__)  # tells for next to nothing whether a level is logged


class RequestContext:
    """ASGI middleware, outermost of the application's own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get(HEADER))
        status = 0
        started = time.perf_counter()
        answered: float | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter()
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = current_request.set(request_id)
        parent = Headers(scope=scope).get("traceparent")
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            tracing.span(scope["method"], kind="server", parent=parent) as span,
        ):
            try:
                await self.app(scope, receive, send_marked)
            except ClientDisconnect:
                log.info("the client went away")
            except Exception:
                log.exception("unexpected error")
                if status:
                    raise  # too late for an answer; the server breaks the connection off
                members = {
                    "code": "internal_error",
                    "detail": f"the service failed; its log says more under {request_id}",
                }
                await respond(Request(scope), members)(scope, receive, send_marked)
            finally:
                current_request.reset(token)
                if span is not None:
                    _describe(span, scope, status, request_id)
                ended = time.perf_counter()
                if answered is not None:  # else the client has gone away
                    _count(scope, status, answered - started)
                read = (
                    scope["method"] in ("GET", "HEAD") and 0 < status < 400
                )  # polls by the hundred tell nothing
                if not read or _plain.isEnabledFor(logging.DEBUG):
                    seconds = round(ended - started, 4)
                    tell = log.debug if read else log.info
                    tell(
                        "request",
                        method=scope["method"],
                        path=scope["path"],
                        status=status,
                        seconds=seconds,
                    )


def _count(scope: Scope, status: int, seconds: float) -> None:
    """Count a request; what a client asked for by `wait` is no slowness."""
    held = scope.get("state", {}).get("held_seconds", 0.0)
    scope["app"].state.traffic.note(
        scope["method"], _route(scope), status, max(0.0, seconds - held)
    )


def _describe(span: "Span", scope: Scope, status: int, request_id: str) -> None:
    """Name a request's span by its route, of which there are few."""
    route = _route(scope)
    span.update_name(f"{scope['method']} {route or 'unknown'}")
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("convpress.request_id", request_id)
    if route:
        span.set_attribute("http.route", route)


def _route(scope: Scope) -> str | None:
    """Return the template of the path, of which there are few, or what is mounted there; None where nothing is."""
    return getattr(scope.get("route"), "path", None) or scope.get("root_path") or None


def _request_id(given: str | None) -> str:
    """Take over the caller's id where it is harmless in logs and headers."""
    return given if given and _SANE.fullmatch(given) else uuid.uuid4().hex

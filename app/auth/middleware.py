"""The door: who may come in, how often, and with what headers they go; asked before a byte of the body is read."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import keys, rate_limit
from app.auth.keys import Caller
from app.db.models import Job, Model
from app.db.session import transaction
from app.errors import Problem, respond
from app.identity import current_owner, posting_owner
from app.settings import Settings, get_settings
from app.uploads.retention import MODELS, SAMPLES
from convpress.states import TERMINAL

SIGN_IN = "/dashboard/sign-in"
COOKIE = "convpress_key"
"""Holds the key of a browser that has signed in."""

_OPEN = (
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/static-offline-docs",
    "/dashboard/static",
    SIGN_IN,
)
_ORDERING = re.compile(r"/jobs|/dashboard/jobs/[^/]+/again")
_SCOPES: Mapping[str, keys.Scope] = {
    "/metrics": "metrics"
}  # of all owners together; all else that is read: "read"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_BUSY_SECONDS = "30"

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer carries that does not say otherwise."""
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


class Door:
    """ASGI middleware around the application's own routes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or turn it away."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                said = {name for name, _ in headers.raw}
                headers.raw.extend(header for header in _HEADERS if header[0] not in said)
                if path.startswith("/docs"):
                    headers["Content-Security-Policy"] = _DOCS_POLICY
            await send(message)

        settings = get_settings()
        try:
            caller = await self._ask(scope, settings)
        except Problem as problem:
            await respond(Request(scope), problem.members, headers=problem.headers)(
                scope, receive, send_guarded
            )
            return
        if caller is None:
            await self.app(scope, receive, send_guarded)
            return
        everything = "admin" in caller.scopes or path in _SCOPES
        seen = current_owner.set(None if everything else caller.owner)
        posted = posting_owner.set(caller.owner)
        scope.setdefault("state", {})["caller"] = caller
        try:
            with structlog.contextvars.bound_contextvars(owner=caller.owner):
                await self.app(scope, receive, send_guarded)
        finally:
            current_owner.reset(seen)
            posting_owner.reset(posted)

    async def _ask(self, scope: Scope, settings: Settings) -> Caller | None:
        headers = Headers(scope=scope)
        is_open = _is_open(scope["path"])
        if not is_open or scope["method"] not in _READING:
            _check_origin(headers, settings)
        if is_open:
            return None
        if settings.api_keys:
            return await run_in_threadpool(_admit, scope, headers, settings)
        _check_nearness(scope, headers)
        return None


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_open(path: str) -> bool:
    return any(path == open_path or path.startswith(f"{open_path}/") for open_path in _OPEN)


def _check_nearness(scope: Scope, headers: Headers) -> None:
    """Without keys, turn away who is not on this machine, or calls it by another name than its own."""
    client = (scope.get("client") or ("",))[0]
    if not is_loopback(client):
        raise Problem(
            "keys_required",
            "this service has no keys, and so it serves its own machine alone; CONVPRESS_API_KEYS=true opens it to "
            "those who hold a key",
        )
    _check_host(headers)


def _admit(scope: Scope, headers: Headers, settings: Settings) -> Caller:
    """Return who asks.

    Raises:
        Problem: `origin_refused`, `key_missing`, `key_invalid`, `scope_missing`, `rate_exceeded` or `quota_exceeded`.
    """
    reading = scope["method"] in _READING
    token = _token(headers, reading=reading)
    with transaction() as session:
        caller = keys.verify(session, token)
        if caller is None:
            raise Problem(
                "key_invalid",
                "the key is unknown or revoked",
                field="Authorization",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        needed: keys.Scope = _SCOPES.get(scope["path"], "read") if reading else "submit"
        if not caller.may(needed):
            raise Problem(
                "scope_missing",
                f"the key lacks the scope {needed}",
                expected=needed,
                got=" ".join(caller.scopes),
            )
        wait = rate_limit.wait_needed(caller.owner, settings.owner_requests_per_minute)
        if wait is not None:
            raise Problem(
                "rate_exceeded",
                "too many requests",
                expected=f"at most {settings.owner_requests_per_minute} a minute",
                headers={"Retry-After": str(wait)},
            )
        if scope["method"] == "POST" and _ORDERING.fullmatch(scope["path"]):
            _check_quota(
                session, caller.owner, int(headers.get("content-length", 0) or 0), settings
            )
    return caller


def _token(headers: Headers, *, reading: bool) -> str:
    """Return the key that comes with a request: as a script sends it, or in the cookie of a browser that has signed in.

    A browser sends its cookies along whoever made it send the request, so a cookie changes something only where the
    browser says that a page of this service itself did.
    """
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    cookie = (
        None if "authorization" in headers else cookie_parser(headers.get("cookie", "")).get(COOKIE)
    )
    if cookie is None:
        raise Problem(
            "key_missing",
            "the request carries no key",
            field="Authorization",
            expected="Authorization: Bearer cp_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not reading and not _is_own(headers):
        raise Problem(
            "origin_refused",
            "a browser that has signed in changes things from pages of this service alone",
            field="Origin",
            expected=f"the origin of {headers.get('host', 'this service')[:100]}",
            got=headers.get("origin", "no Origin")[:200],
        )
    return cookie


def _is_own(headers: Headers) -> bool:
    """Tell whether a page of this service sent the request."""
    return headers.get("origin", "").partition("://")[2] == headers.get("host", "")


def _check_origin(headers: Headers, settings: Settings) -> None:
    """Turn away what another site's page sends: a browser sends along that site's name."""
    origin = headers.get("origin")
    if origin is None or origin in settings.cors_origins:
        return
    if not _is_own(headers):
        raise Problem(
            "origin_refused",
            "pages of other sites may not use this service",
            field="Origin",
            got=origin[:200],
        )


def _check_host(headers: Headers) -> None:
    """Turn away what was sent to another name than this machine's own.

    The pages of a site whose name comes to stand for this machine (DNS rebinding) call the service as their own origin.
    """
    host = headers.get("host")
    if host is not None and not is_loopback(_hostname(host)):
        raise Problem(
            "origin_refused",
            "without keys the service answers to its own machine's names alone",
            field="Host",
            expected="localhost or 127.0.0.1",
            got=host[:200],
        )


def _hostname(host: str) -> str:
    """Return the name that a Host header gives, without the port; nothing where it is malformed.

    >>> _hostname("[::1]:8000"), _hostname("localhost"), _hostname("[")
    ('::1', 'localhost', '')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _check_quota(session: Session, owner: str, announced: int, settings: Settings) -> None:
    unfinished = session.scalar(
        select(func.count()).select_from(Job).where(Job.owner == owner, Job.state.not_in(TERMINAL))
    )
    if (unfinished or 0) >= settings.owner_unfinished_jobs:
        raise _over_quota(
            f"{unfinished} jobs are not finished",
            f"at most {settings.owner_unfinished_jobs} at a time",
        )
    stored = 0
    for kept in (MODELS, SAMPLES):
        needed = select(kept.needed_by).where(Job.owner == owner)
        size = select(func.coalesce(func.sum(kept.table.bytes), 0)).where(
            kept.table.sha256.in_(needed)
        )
        stored += session.scalar(size) or 0
    analysed = select(Job.model_sha256).where(Job.owner == owner)
    size = select(func.coalesce(func.sum(Model.analysis_bytes), 0)).where(
        Model.sha256.in_(analysed)
    )
    stored += session.scalar(size) or 0
    stored += (
        session.scalar(
            select(func.coalesce(func.sum(Job.artifact_bytes), 0)).where(Job.owner == owner)
        )
        or 0
    )
    if stored + announced > settings.owner_stored_bytes:
        raise _over_quota(
            f"{stored} bytes are stored", f"at most {settings.owner_stored_bytes} bytes"
        )


def _over_quota(detail: str, expected: str) -> Problem:
    return Problem(
        "quota_exceeded", detail, expected=expected, headers={"Retry-After": _BUSY_SECONDS}
    )

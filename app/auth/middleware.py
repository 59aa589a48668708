"""Authentication before the body is read: key or cookie, request rate, origin and host.

Scopes and quotas belong to routes (`app.auth.scopes`, `app.auth.quota`). The checks here cannot be
route dependencies: FastAPI reads the body of a form before it runs them.
"""

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth import audit, keys, rate_limit
from app.auth.cookie import read_key, remove_cookies
from app.auth.key_uses import KeyUses
from app.auth.keys import Caller
from app.db.session import transaction
from app.errors import DATABASE_ERRORS, Problem, answer_database, respond
from app.http import origin
from app.identity import acting_for
from app.settings import Settings, get_settings

SIGN_IN = "/dashboard/sign-in"

# Health checks, descriptions and what the sign-in page needs: none of them shows a job.
_OPEN_PATHS = (
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/static-offline-docs",
    "/dashboard/static",
    SIGN_IN,
)
"""These paths, and paths below them, need no key."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""


class Authentication:
    """ASGI middleware that identifies the caller or refuses the request.

    `scope["state"]["caller"]` is the `Caller`. It is missing where no key is needed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._uses = KeyUses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            caller = await _authenticate(scope, get_settings())
        except Problem as problem:
            refusal = respond(Request(scope), problem.members, headers=problem.headers)
            await refusal(scope, receive, send)
            return
        except DATABASE_ERRORS as error:
            # Handlers of the application see only what routes raise.
            refusal = answer_database(Request(scope), error)
            await refusal(scope, receive, send)
            return
        remove_cookies(scope)
        if caller is None:
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        with (
            acting_for(caller.owner, sees_all=caller.is_admin),
            structlog.contextvars.bound_contextvars(owner=caller.owner),
        ):
            await self.app(scope, receive, send)
        # After the answer, which must not wait for a writer of the database.
        if self._uses.is_due(caller.key_id):
            await run_in_threadpool(self._uses.write, caller.key_id)


async def _authenticate(scope: Scope, settings: Settings) -> Caller | None:
    """Return the caller, or None where no key is needed.

    Raises:
        Problem: `origin_refused`, `keys_required`, `key_missing`, `key_invalid`, `rate_exceeded`.
    """
    headers = Headers(scope=scope)
    is_open = _is_open(scope["path"])
    is_safe = scope["method"] in _SAFE_METHODS
    # A page of another site may link to open paths, but may not sign a browser in.
    if not (is_open and is_safe):
        origin.check_origin(headers, settings)
    if is_open:
        return None
    if not settings.api_keys:
        origin.check_local(scope, headers)
        return None
    token = _token(headers, is_safe=is_safe)
    # In a thread, because the database and Redis would block the event loop.
    return await run_in_threadpool(_identify, token, scope, settings)


def _is_open(path: str) -> bool:
    return any(
        path == prefix or path.startswith(f"{prefix}/") for prefix in _OPEN_PATHS
    )


def _identify(token: str, scope: Scope, settings: Settings) -> Caller:
    with transaction() as session:
        caller = keys.verify(session, token)
    if caller is None:
        raise Problem(
            "key_invalid",
            "the key is unknown, revoked or expired",
            field="Authorization",
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    address, _ = scope.get("client") or (None, None)
    audit.record(caller, scope["method"], scope["path"], address)
    # Counted for valid keys only: a stranger must not use up an owner's requests.
    rate_limit.check_rate(caller.owner, settings)
    return caller


def _token(headers: Headers, *, is_safe: bool) -> str:
    """Return the key from the Authorization header, or from the cookie of a signed-in browser.

    Browsers send cookies whichever site caused the request. A cookie therefore authorises an
    unsafe method only if `Origin` says that a page of this service sent the request.

    Raises:
        Problem: `key_missing`, `origin_refused`.
    """
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    cookie = read_key(headers)
    if cookie is None or "authorization" in headers:
        raise Problem(
            "key_missing",
            "the request carries no key",
            field="Authorization",
            expected="Authorization: Bearer cp_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not is_safe and not origin.is_same_origin(headers):
        raise Problem(
            "origin_refused",
            "a signed-in browser may change things only from pages of this service",
            field="Origin",
            expected=f"the origin of {headers.get('host', 'this service')[:100]}",
            got=headers.get("origin", "no Origin")[:200],
        )
    return cookie

"""Scopes as route dependencies: `dependencies=[Security(require("read"))]`."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from app.auth.keys import Caller, Scope
from app.errors import Problem


def require(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that refuses callers whose key lacks `scope`, with `scope_missing`.

    A service without keys has no callers and refuses nobody.
    """

    # A coroutine, because FastAPI would run a plain function in its thread pool.
    async def check_scope(request: Request) -> None:
        caller = caller_of(request)
        if caller is not None and not caller.may(scope):
            raise Problem(
                "scope_missing",
                f"the key lacks the scope {scope}",
                expected=scope,
                got=" ".join(caller.scopes),
            )

    return check_scope


def caller_of(request: Request) -> Caller | None:
    """Return the caller that `app.auth.middleware` identified; None in a service without keys."""
    caller: Caller | None = getattr(request.state, "caller", None)
    return caller

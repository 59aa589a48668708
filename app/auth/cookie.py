"""The cookie that holds the key of a signed-in browser."""

from starlette.datastructures import Headers
from starlette.types import Scope

COOKIE = "convpress_key"


def read_key(headers: Headers) -> str | None:
    """Return the key in a request's cookies; None without one.

    Keys have no characters that need quotes. The standard library's parser takes quadratic time to
    remove quotes in releases before Python 3.11.10 (CVE-2024-7592), so it must not see the cookies.
    """
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return None


def remove_cookies(scope: Scope) -> None:
    """Remove the cookies from a request: the framework would parse them for every route."""
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"cookie"]

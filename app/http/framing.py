"""Refuses requests whose length is ambiguous or whose headers are too long, and hangs up on them.

A proxy that reads such a request in another way than this service would take a part of it for the
next request of another client.
"""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Problem, respond

MOST_HEADER_BYTES = 64 * 1024
"""The largest request line with headers. h11 ends an unfinished one above it, where the server
has the same limit (`--h11-max-incomplete-event-size`), but accepts one that arrives complete in one
read, of up to 256 KiB."""

_CLOSE = {"Connection": "close"}


class Framing:
    """ASGI middleware that looks at the request line and the headers alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it and close its connection."""
        problem = _problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self.app(scope, receive, send)
            return
        refusal = respond(Request(scope), problem.members, headers=problem.headers)
        await refusal(scope, receive, send)


def _problem(scope: Scope) -> Problem | None:
    headers = Headers(scope=scope)
    # RFC 9112, section 6.3: an attempt at request smuggling, whatever either of them says.
    if "content-length" in headers and "transfer-encoding" in headers:
        return Problem(
            "length_ambiguous",
            "the request has two lengths",
            field="Content-Length",
            expected="Content-Length, or Transfer-Encoding",
            got="both",
            headers=_CLOSE,
        )
    size = _header_bytes(scope)
    if size > MOST_HEADER_BYTES:
        return Problem(
            "headers_too_large",
            "the request's address and headers are too long",
            expected=f"at most {MOST_HEADER_BYTES} bytes",
            got=f"{size} bytes",
            headers=_CLOSE,
        )
    return None


def _header_bytes(scope: Scope) -> int:
    """Return the size of the request line and the headers, as a client with no extra spaces sends.

    Separators count: `METHOD target HTTP/1.1` and `name: value`, each with the end of its line.
    """
    line = (
        len(scope["method"])
        + len(scope.get("raw_path") or b"")
        + len(scope["query_string"])
    )
    fields = sum(
        len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"]
    )
    return line + len(b" ? HTTP/1.1\r\n") + fields + len(b"\r\n")

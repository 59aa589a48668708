"""The bodies of all requests but uploads: short, and read before the application parses them."""

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem, respond

LARGEST_BYTES = 64 * 1024
"""The dashboard's forms have a few short fields. Parsers keep a form in memory several times."""

# Uploads count their own bytes while they write them to the disk (`app.uploads.submission`).
_UPLOADS = frozenset(
    {("POST", "/jobs"), ("POST", "/advice"), ("POST", "/dashboard/jobs")}
)
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class BodyLimit:
    """ASGI middleware that reads the body of a request, and refuses one of `LARGEST_BYTES`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or not _has_short_body(scope):
            await self.app(scope, receive, send)
            return
        try:
            body = await _read(scope, receive)
        except Problem as problem:
            await respond(Request(scope), problem.members)(scope, receive, send)
            return
        await self.app(scope, _Replay(body, receive).receive, send)


def _has_short_body(scope: Scope) -> bool:
    return (
        scope["method"] not in _BODILESS
        and (scope["method"], scope["path"]) not in _UPLOADS
    )


async def _read(scope: Scope, receive: Receive) -> bytes:
    """Return the body of a request.

    Raises:
        Problem: `body_too_large`.
        ClientDisconnect: the client closed the connection.
    """
    announced = Headers(scope=scope).get("content-length", "0")
    if int(announced) > LARGEST_BYTES:
        raise _too_large(f"{announced} bytes announced")
    body = bytearray()
    is_complete = False
    while not is_complete:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        is_complete = not message.get("more_body", False)
        if len(body) > LARGEST_BYTES:
            raise _too_large(f"more than {LARGEST_BYTES} bytes")
    return bytes(body)


def _too_large(got: str) -> Problem:
    return Problem(
        "body_too_large",
        f"the body of this request is at most {LARGEST_BYTES} bytes",
        expected=f"at most {LARGEST_BYTES} bytes; models are posted to /jobs",
        got=got,
    )


class _Replay:
    """Gives the application a body that was read already, and later messages as they come."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {
            "type": "http.request",
            "body": body,
            "more_body": False,
        }
        self._receive = receive

    async def receive(self) -> Message:
        """Return the next message of the request."""
        message = self._first
        self._first = None
        return message if message is not None else await self._receive()

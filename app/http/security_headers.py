"""Response headers against guessed content types, framed pages and leaked addresses."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every response that does not set its own."""

_RAW_DEFAULTS = [
    (name.lower().encode(), value.encode()) for name, value in DEFAULTS.items()
]

# Swagger UI starts from an inline script and styles itself inline.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


class SecurityHeaders:
    """ASGI middleware that adds the default headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_defaults(message, scope["path"])
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _add_defaults(start: Message, path: str) -> None:
    # Names are in lower case here (ASGI), so that a set finds them.
    present = {name for name, _ in start["headers"]}
    start["headers"] += [each for each in _RAW_DEFAULTS if each[0] not in present]
    if path.startswith("/docs"):
        headers = MutableHeaders(scope=start)
        headers["Content-Security-Policy"] = _DOCS_POLICY

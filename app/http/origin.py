"""Which machines, host names and web pages may call the service, by the request's headers alone."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.errors import Problem
from app.settings import Settings

# Longer header values are cut off in a problem's `got`.
_LONGEST_SHOWN = 200


# Small, because a caller chooses the name in a Host header.
@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Tell whether an address or name is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost")
    (True, True, True)
    >>> is_loopback("0.0.0.0")
    False
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_same_origin(headers: Headers) -> bool:
    """Tell whether a page of this service sent the request."""
    # Without the scheme: behind a proxy that ends TLS, browsers see https and the service http.
    _, _, origin_host = headers.get("origin", "").partition("://")
    return origin_host == headers.get("host", "")


def check_origin(headers: Headers, settings: Settings) -> None:
    """Refuse requests that a page of another site sends.

    Browsers add the site as `Origin`; scripts add none and pass.

    Raises:
        Problem: `origin_refused`.
    """
    origin = headers.get("origin")
    if origin is None or origin in settings.cors_origins:
        return
    if not is_same_origin(headers):
        raise Problem(
            "origin_refused",
            "pages of other sites may not use this service",
            field="Origin",
            got=origin[:_LONGEST_SHOWN],
        )


def check_local(scope: Scope, headers: Headers) -> None:
    """Refuse requests from other machines: a service without keys serves its own machine only.

    Raises:
        Problem: `keys_required`, or `origin_refused` for a host name that is not this machine's.
    """
    client, _ = scope.get("client") or ("", None)
    if not is_loopback(client):
        raise Problem(
            "keys_required",
            "this service has no keys and serves its own machine only; "
            "set CONVPRESS_API_KEYS=true to serve holders of a key",
        )
    _check_host(headers)


def _check_host(headers: Headers) -> None:
    # DNS rebinding: a site whose name resolves to 127.0.0.1 calls the service as its own origin,
    # so its pages pass check_origin. Only the Host header gives them away.
    host = headers.get("host")
    if host is not None and not is_loopback(_hostname(host)):
        raise Problem(
            "origin_refused",
            "a service without keys answers only under its own machine's names",
            field="Host",
            expected="localhost or 127.0.0.1",
            got=host[:_LONGEST_SHOWN],
        )


def _hostname(host: str) -> str:
    """Return the name in a Host header without the port; empty if it is malformed.

    >>> _hostname("[::1]:8000"), _hostname("localhost"), _hostname("[")
    ('::1', 'localhost', '')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""

"""Webhooks: which addresses may be called, and one signed call by the Standard Webhooks scheme."""

import asyncio
import ipaddress
import re
import socket
from datetime import datetime

import httpx
from standardwebhooks import Webhook

from app.errors import Problem

FIELD = "webhook_url"
EXPECTED = "an http or https address that is reachable from the internet"

_LONGEST = 2000
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_DEADLINE_SECONDS = 15.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """The receiver did not take the call; says why."""


def check_url(text: str, *, enabled: bool, private: bool) -> str:
    """Read the address of a webhook; whether its name leads to an allowed place is seen when it is called.

    Raises:
        Problem: `webhook_invalid`.
    """
    if not enabled:
        raise _invalid("this service calls no webhooks", text)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise _invalid(f"it is no address: {error}", text) from error
    plain = (
        url.scheme in ("http", "https")
        and _HOST.fullmatch(url.raw_host.decode())
        and 0 < (url.port or 80) < 2**16
    )
    if not plain or len(text) > _LONGEST or url.userinfo or url.fragment:
        raise _invalid("it is no plain http or https address", text)
    try:
        literal = ipaddress.ip_address(url.host)
    except ValueError:
        return text
    if not private and not is_public(literal):
        raise _invalid("it is not on the internet", text)
    return text


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tell whether an address is one of the internet's, and no disguise of another.

    >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None or address.teredo is not None or address in _NAT64:
            return False
    return address.is_global and not address.is_multicast


async def call(
    url: str,
    message_id: str,
    sent_at: datetime,
    body: str,
    *,
    secret: str,
    private: bool,
    client: httpx.AsyncClient,
) -> None:
    """Post one message to a receiver, who has 15 seconds to answer with a 2xx.

    The connection goes to the very address that was checked, and no redirect is followed.

    Raises:
        Refused: no allowed address, no connection, no answer in time, or another status.
    """
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            target = httpx.URL(url)
            address = await _resolve(target, private=private)
            headers = {
                "Host": target.netloc.decode(),
                "Content-Type": "application/json",
                "User-Agent": "convpress",
                "webhook-id": message_id,
                "webhook-timestamp": str(int(sent_at.timestamp())),
                "webhook-signature": Webhook(secret).sign(message_id, sent_at, body),
            }
            pinned = target.copy_with(host=address)
            extensions = {"sni_hostname": target.host}
            async with client.stream(
                "POST", pinned, content=body, headers=headers, extensions=extensions
            ) as response:
                if not response.is_success:
                    raise Refused(f"the receiver answered {response.status_code}")
    except TimeoutError as error:
        raise Refused(
            f"the receiver did not answer within {_DEADLINE_SECONDS:g} seconds"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Refused(f"the receiver could not be called: {type(error).__name__}") from error


def new_client() -> httpx.AsyncClient:
    """Return a client that goes where it is told: by no proxy, to no other place."""
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_DEADLINE_SECONDS)


async def _resolve(url: httpx.URL, *, private: bool) -> str:
    """Return an address of the receiver's name; all of them have to be allowed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            url.host, url.port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise Refused("the receiver's name leads nowhere") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not private and not all(map(is_public, addresses)):
        raise Refused("the receiver is not on the internet")
    return str(addresses[0])


def _invalid(detail: str, got: str) -> Problem:
    return Problem(
        "webhook_invalid",
        f"the webhook cannot be called: {detail}",
        field=FIELD,
        expected=EXPECTED,
        got=got[:80],
    )

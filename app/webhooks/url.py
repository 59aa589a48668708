"""The addresses that webhooks may call: on the internet only, unless a setting allows all."""

import ipaddress
import re

import httpx

from app.errors import Problem

FIELD = "webhook_url"
EXPECTED = "an http or https address that is reachable from the internet"

# The column of the database is as long.
_LONGEST = 2000
_LONGEST_SHOWN = 80
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_url(text: str, *, enabled: bool, private: bool) -> str:
    """Return a webhook's address if it may be called.

    Args:
        text: the address.
        enabled: whether the service calls webhooks at all.
        private: whether addresses that are not on the internet may be called.

    A host name is resolved, and its addresses are checked, with each call.

    Raises:
        Problem: `webhook_invalid`.
    """
    if not enabled:
        raise _invalid("this service calls no webhooks", text)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise _invalid(f"the address cannot be parsed: {error}", text) from error
    if len(text) > _LONGEST or not _is_plain(url):
        raise _invalid("it is not a plain http or https address", text)
    if not private and _is_private_literal(url.host):
        raise _invalid("the address is not on the internet", text)
    return text


def is_public(address: Address) -> bool:
    """Tell whether an address is on the internet; an IPv6 form of an IPv4 address is unpacked.

    >>> is_public(ipaddress.ip_address("8.8.8.8"))
    True
    >>> is_public(ipaddress.ip_address("169.254.169.254"))
    False
    >>> is_public(ipaddress.ip_address("::ffff:10.0.0.1"))
    False
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if _is_tunnelled(address):
            return False
    return address.is_global and not address.is_multicast


def _is_plain(url: httpx.URL) -> bool:
    """Tell whether a URL has a usable scheme, host and port, and neither user nor fragment."""
    if url.scheme not in ("http", "https") or url.userinfo or url.fragment:
        return False
    # httpx accepts any number as a port.
    is_port = 0 < (url.port or 80) < 2**16
    return is_port and _HOST.fullmatch(url.raw_host.decode()) is not None


def _is_private_literal(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(address)


def _is_tunnelled(address: ipaddress.IPv6Address) -> bool:
    # 6to4, Teredo and NAT64 addresses carry an IPv4 address that may be a private one.
    is_6to4 = address.sixtofour is not None
    is_teredo = address.teredo is not None
    return is_6to4 or is_teredo or address in _NAT64


def _invalid(detail: str, got: str) -> Problem:
    return Problem(
        "webhook_invalid",
        f"the webhook cannot be called: {detail}",
        field=FIELD,
        expected=EXPECTED,
        got=got[:_LONGEST_SHOWN],
    )

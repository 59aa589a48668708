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
# All addresses of the IPv6 internet lie here (IANA's registry of global unicast addresses). That
# leaves out those that embed IPv4 addresses (::/96, 64:ff9b::/96 and 64:ff9b:1::/48 of NAT64), the
# former site-local ones (fec0::/10) and the identifiers of segment routing (5f00::/16).
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# The rest of what is not on the internet by IANA's registries of special-purpose addresses, or
# carries an IPv4 address that may be a private one. `ipaddress` has not all of it in Python 3.11.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID and more
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)

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
        raise _invalid(
            "this service calls none before its administrator sets "
            "CONVPRESS_WEBHOOK_SECRET, the key that signs them",
            text,
            expected="no webhook_url",
        )
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
    """Tell whether an address is on the internet; a mapped IPv4 address is unpacked.

    Addresses of tunnels and translators (6to4, Teredo, NAT64) are not: a host of the service's own
    network may be behind them.

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
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast


def _is_plain(url: httpx.URL) -> bool:
    """Tell whether a URL has a usable scheme, host and port, and neither user nor fragment."""
    if url.scheme not in ("http", "https") or url.userinfo or url.fragment:
        return False
    # httpx accepts any number as a port.
    is_port = url.port is None or 0 < url.port < 2**16
    return is_port and _HOST.fullmatch(url.raw_host.decode()) is not None


def _is_private_literal(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(address)


def _invalid(detail: str, got: str, expected: str = EXPECTED) -> Problem:
    return Problem(
        "webhook_invalid",
        f"the webhook cannot be called: {detail}",
        field=FIELD,
        expected=expected,
        got=got[:_LONGEST_SHOWN],
    )

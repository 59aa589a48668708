"""One call of a webhook, signed by the Standard Webhooks scheme (https://www.standardwebhooks.com)."""

import asyncio
import ipaddress
import socket
from datetime import datetime
from typing import NamedTuple

import httpx
from standardwebhooks import Webhook

from app.webhooks.url import is_public

# Documented in docs/api.md. It covers the look-up of the name, the connection and the answer.
_DEADLINE_SECONDS = 15.0


class Refused(Exception):
    """The receiver was not called or did not accept the call; the text says why."""


class Message(NamedTuple):
    """The content of a call. All attempts have the same `id`, so receivers can ignore repeats."""

    id: str
    sent_at: datetime
    body: str


async def call(
    url: str, message: Message, *, secret: str, private: bool, client: httpx.AsyncClient
) -> None:
    """Post one message to a receiver, which has 15 seconds to answer with a 2xx.

    Args:
        url: the receiver's address.
        message: what is posted.
        secret: the key that signs the message, `whsec_` and base64.
        private: whether the receiver may be outside the internet.
        client: a client of `new_client`.

    Raises:
        Refused: no allowed address, no connection, no answer in time, or another status.
    """
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            await _post(url, message, secret=secret, private=private, client=client)
    except TimeoutError as error:
        late = f"the receiver did not answer within {_DEADLINE_SECONDS:g} seconds"
        raise Refused(late) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Refused(
            f"the receiver could not be called: {type(error).__name__}"
        ) from error


def new_client() -> httpx.AsyncClient:
    """Return a client that uses no proxy and follows no redirect."""
    return httpx.AsyncClient(
        trust_env=False, follow_redirects=False, timeout=_DEADLINE_SECONDS
    )


async def _post(
    url: str, message: Message, *, secret: str, private: bool, client: httpx.AsyncClient
) -> None:
    target = httpx.URL(url)
    # The connection goes to the address that was checked: a second look-up of the name could give
    # another one (DNS rebinding).
    address = await _resolve(target, private=private)
    headers = {
        "Host": target.netloc.decode(),
        "Content-Type": "application/json",
        "User-Agent": "convpress",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(message.sent_at.timestamp())),
        "webhook-signature": Webhook(secret).sign(
            message.id, message.sent_at, message.body
        ),
    }
    answering = client.stream(
        "POST",
        target.copy_with(host=address),
        content=message.body,
        headers=headers,
        extensions={"sni_hostname": target.host},
    )
    # The body of the answer is never read: it could be endless.
    async with answering as response:
        if not response.is_success:
            raise Refused(f"the receiver answered {response.status_code}")


async def _resolve(url: httpx.URL, *, private: bool) -> str:
    """Return an address of the receiver's name; every address of the name has to be allowed."""
    loop = asyncio.get_running_loop()
    try:
        entries = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused("the receiver's name cannot be resolved") from error
    # "fe80::1%eth0" names an interface after the address.
    texts = [str(socket_address[0]).partition("%")[0] for *_, socket_address in entries]
    addresses = [ipaddress.ip_address(text) for text in texts]
    if not private and not all(map(is_public, addresses)):
        raise Refused("the receiver is not on the internet")
    return str(addresses[0])

"""Who may be called, and what is made of a receiver that is silent or slow."""

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from datetime import UTC, datetime

import anyio
import pytest

from app.errors import Problem
from app.webhooks import call as webhooks

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def call(url, private=True):
    async def run():
        async with webhooks.new_client() as client:
            await webhooks.call(
                url, "msg_1", datetime.now(UTC), "{}", secret=SECRET, private=private, client=client
            )

    anyio.run(run)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::",
        "::ffff:127.0.0.1",
        "fe80::1",
        "fc00::1",
        "::",
    ],
)
def test_disguises_of_private_addresses(address):
    assert not webhooks.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http:///x",
        "example.com",
        "http://user:pass@example.com/",
        "http://example.com/#x",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/",
        "https://example.com/" + "x" * 2000,
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "",
    ],
)
def test_bad_addresses(url):
    with pytest.raises(Problem) as caught:
        webhooks.check_url(url, enabled=True, private=False)
    assert (caught.value.members["code"], caught.value.members["field"]) == (
        "webhook_invalid",
        "webhook_url",
    )


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?x=1", "http://bücher.example:8080/", "http://8.8.8.8/"]
)
def test_good_addresses(url):
    assert webhooks.check_url(url, enabled=True, private=False) == url


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111"])
def test_addresses_of_the_internet(address):
    assert webhooks.is_public(ipaddress.ip_address(address))


def test_a_receiver_that_drips_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(webhooks, "_DEADLINE_SECONDS", 0.5)

    def drip():
        connection, _ = server.accept()
        with connection, contextlib.suppress(ConnectionError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
                connection.send(bytes([byte]))
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(webhooks.Refused, match=r"within 0\.5 seconds"):
            call(f"http://127.0.0.1:{server.getsockname()[1]}/")
        dripping.join(60)
        assert not dripping.is_alive()


def test_a_name_with_one_private_address_is_not_called(monkeypatch):
    async def resolve(*_, **__):
        return [
            (socket.AF_INET, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "127.0.0.1")
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(webhooks.Refused, match="internet"):
        call("http://example.com/", private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://name.invalid/"])
def test_nobody_there(url):
    with pytest.raises(webhooks.Refused):
        call(url)

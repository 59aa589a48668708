"""A receiver that is slow, silent or not allowed is not waited for."""

import asyncio
import contextlib
import socket
import threading
import time
from datetime import UTC, datetime

import anyio
import pytest

from app.webhooks import call as webhooks

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def call(url, private=True):
    async def run():
        async with webhooks.new_client() as client:
            message = webhooks.Message("msg_1", datetime.now(UTC), "{}")
            await webhooks.call(
                url, message, secret=SECRET, private=private, client=client
            )

    anyio.run(run)


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


def test_a_receiver_that_sends_the_call_elsewhere_is_not_followed():
    asked = []

    def send_elsewhere():
        connection, _ = server.accept()
        with connection:
            asked.append(connection.recv(4096).split(b" ")[1])
            connection.send(b"HTTP/1.1 307 Away\r\nLocation: /elsewhere\r\n\r\n")
            # a client that follows would ask again on a connection of its own
            server.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                server.accept()[0].close()
                asked.append(b"/elsewhere")

    with socket.create_server(("127.0.0.1", 0)) as server:
        receiver = threading.Thread(target=send_elsewhere)
        receiver.start()
        with pytest.raises(webhooks.Refused, match="answered 307"):
            call(f"http://127.0.0.1:{server.getsockname()[1]}/hook")
        receiver.join(60)
    assert asked == [b"/hook"]


def test_a_name_with_one_private_address_is_not_called(monkeypatch):
    async def resolve(*_, **__):
        return [
            (socket.AF_INET, 1, 6, "", (address, 80))
            for address in ("93.184.216.34", "127.0.0.1")
        ]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(webhooks.Refused, match="internet"):
        call("http://example.com/", private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://name.invalid/"])
def test_nobody_there(url):
    with pytest.raises(webhooks.Refused):
        call(url)

"""Both clients have the same calls, and an address that is none is refused at once."""

import inspect

import pytest

from convpress import AsyncClient, Client


def test_both_clients_have_the_same_calls():
    calls = lambda kind: {  # noqa: E731
        name: inspect.signature(call)
        for name, call in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and "close" not in name
    }
    assert calls(Client) == calls(AsyncClient)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "server", ["127.0.0.1:8000", "localhost:8000", "ftp://h", "http://", "", "\x00"]
)
def test_an_address_looks_like_one(kind, server):
    with pytest.raises(ValueError, match="looks like http://"):
        kind(server)


@pytest.mark.parametrize(("key", "header"), [(None, None), ("cp_1_x", "Bearer cp_1_x")])
def test_a_key_is_a_header(key, header):
    with Client("http://h:1/base", key) as client:
        headers = client._transport.http.headers
        assert headers.get("authorization") == header
        assert headers["user-agent"].startswith("convpress/")

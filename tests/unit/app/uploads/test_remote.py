"""Models by their addresses: below the prefixes alone, and within the limits of an upload."""

from types import SimpleNamespace

import obstore
import pytest
from obstore.store import MemoryStore

from app.errors import Problem
from app.settings import Settings
from app.uploads import remote

SETTINGS = Settings(
    model_uri_prefixes=("s3://other/", "s3://models/team/"), max_upload_bytes=1000
)


def refusal(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.members


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://models/team/net.onnx", ("s3://models/team/", "net.onnx")),
        ("s3://other/a/b c.pt", ("s3://other/", "a/b c.pt")),
    ],
)
def test_an_address_is_split_at_its_prefix(uri, place):
    assert remote.check_uri(uri, SETTINGS) == place


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///etc/passwd",
        "s3://models/secret.onnx",
        "s3://models/team/",
        "s3://models/team/../secret.onnx",
        "s3://models/team/a//b",
        "s3://models/team/./a",
        "s3://models/team/net.onnx?x",
        "s3://models/team/a%2e%2e/b",
        "s3://models/team/a\\b",
        "s3://models/team/\u202e",
    ],
)
def test_an_address_that_leaves_its_prefix_is_refused(uri):
    assert refusal(remote.check_uri, uri, SETTINGS)["code"] == "model_uri_invalid"


def test_a_service_without_prefixes_reads_from_nowhere():
    settings = Settings(model_uri_prefixes=())
    problem = refusal(remote.check_uri, "s3://models/net.onnx", settings)
    assert problem["field"] == "model_uri"


@pytest.fixture
def fetch(monkeypatch):
    """Fetch a file from a store in memory, with some free bytes on the disk of uploads."""
    store = MemoryStore()
    obstore.put(store, "net.onnx", b"model")
    obstore.put(store, "large.onnx", bytes(1001))
    monkeypatch.setattr(remote, "open_store", {"s3://models/team/": store}.get)

    def run(name, free=10**12):
        content = bytearray()
        part = SimpleNamespace(write=content.extend)
        disk = SimpleNamespace(free_bytes=lambda: free)
        remote.fetch(f"s3://models/team/{name}", part, SETTINGS, disk)
        return bytes(content)

    return run


def test_a_file_is_read_whole(fetch):
    assert fetch("net.onnx") == b"model"


@pytest.mark.parametrize(
    ("name", "free", "code"),
    [
        ("missing.onnx", 10**12, "model_uri_invalid"),
        ("large.onnx", 10**12, "upload_too_large"),
        ("net.onnx", 2, "storage_full"),
    ],
)
def test_a_file_that_cannot_be_stored_is_refused(fetch, name, free, code):
    assert refusal(fetch, name, free)["code"] == code

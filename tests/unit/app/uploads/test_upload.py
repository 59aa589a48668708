"""A disk that is full or fills up costs the upload alone; names are for show."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.storage import get_storage
from app.storage.local import LocalStorage
from app.uploads.upload import display_name

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


def post(client, model=ONNX):
    return client.post(
        "/jobs", data={"flops_budget": "0.5"}, files={"model": ("net.onnx", model)}
    )


def staged():
    return list((get_storage().root / "staging").iterdir())


@pytest.fixture
def small_disk(monkeypatch):
    """A disk that takes no more than its first bytes, and tells so as the system does."""
    whole = LocalStorage.stage

    def stage(storage):
        file = whole(storage)
        write = file.write
        written = 0

        def write_some(data):
            nonlocal written
            written += len(data)
            if written > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(data)

        file.write = write_some
        return file

    monkeypatch.setattr(LocalStorage, "stage", stage)


def test_a_disk_that_fills_up_is_told_and_loses_nothing(client, small_disk):
    response = post(client, b"x" * 200_000)
    assert response.status_code == 507
    assert response.json()["code"] == "storage_full"
    assert response.headers["content-type"] == "application/problem+json"
    assert staged() == []
    assert post(client).status_code == 202


def test_a_full_disk_at_the_last_moment(client, monkeypatch):
    def keep(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(LocalStorage, "keep", keep)
    assert post(client).json()["code"] == "storage_full"
    assert staged() == []
    assert client.get("/jobs").json()["jobs"] == []


def test_a_disk_without_room_is_told_before_the_body_is_read(client, monkeypatch):
    monkeypatch.setattr(LocalStorage, "free_bytes", lambda _: 64 * 1024**2 + 1000)
    monkeypatch.setattr(
        LocalStorage, "stage", lambda _: pytest.fail("nothing is to be written")
    )
    response = post(client, b"x" * 2000)
    assert response.status_code == 507
    assert response.json()["code"] == "storage_full"
    assert response.json()["expected"] == "at most 1000 bytes"


def test_another_failure_of_the_disk_is_the_services_fault(client, monkeypatch):
    def keep(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(LocalStorage, "keep", keep)
    with capture_logs():
        response = post(client)
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert staged() == []


@given(st.text(max_size=600))
def test_a_shown_name_is_no_path_and_fits(given_name):
    name = display_name(given_name)
    assert 1 <= len(name) <= 255
    assert name.isprintable()
    assert not set(name) & {"/", "\\"}
    assert name not in {".", ".."}


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("resnet20.onnx", "resnet20.onnx"),
        ("C:\\models\\net.pt", "net.pt"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nX-Evil: 1.onnx", "aX-Evil: 1.onnx"),
        ("\u202exnno.net", "xnno.net"),
        ("<script>.onnx", "<script>.onnx"),
        ("..", "model"),
        ("", "model"),
    ],
)
def test_shown_names(given_name, name):
    assert display_name(given_name) == name

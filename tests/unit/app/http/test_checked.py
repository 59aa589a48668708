"""A stored file that has changed is never sent whole, and no part of it is sent unchecked."""

import hashlib
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from app.errors import install
from app.http import checked
from app.http.checked import Damaged, passed_on
from app.http.download import Download, send_file
from app.storage import LocalStorage

CONTENT = bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = "artifacts/job/file"


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr(checked, "_known", {})
    return LocalStorage(tmp_path)


def keep(storage, content):
    with storage.stage() as staged:
        staged.write(content)
        staged.flush()
        storage.keep(Path(staged.name), KEY)


@pytest.fixture
def fetch(client_of, storage):
    """Fetch the file, and return the response with what the job is told of its file."""

    def call(is_suspect=False, **headers):
        app = FastAPI()
        install(app)
        notes = []

        @app.get("/file")
        def get(request: Request):
            file = Download(
                KEY, SHA256, "application/x", None, is_suspect, notes.append
            )
            return send_file(request, storage, file, redirect=False)

        return client_of(app).get("/file", headers=headers), notes

    return call


def test_pieces_pass_but_the_last_one_only_with_the_right_sum():
    pieces = [b"a", b"b", b"c"]
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert list(passed_on(iter(pieces), sha256)) == pieces
    sent = []
    with pytest.raises(Damaged):
        sent.extend(iter_into(sent, passed_on(iter([b"a", b"b", b"x"]), sha256)))
    assert sent == [b"a", b"b"]
    assert list(passed_on(iter(()), hashlib.sha256().hexdigest())) == [b""]


def iter_into(sent, pieces):
    for piece in pieces:
        sent.append(piece)
    return ()


@pytest.mark.parametrize(
    "content", [CONTENT, CONTENT[:1000]], ids=["pieces", "one piece"]
)
def test_a_whole_file_passes_and_the_job_is_told(storage, fetch, content, monkeypatch):
    monkeypatch.setitem(globals(), "SHA256", hashlib.sha256(content).hexdigest())
    keep(storage, content)
    response, notes = fetch()
    assert (response.status_code, response.content) == (200, content)
    assert notes == [False]


def test_a_small_file_that_changed_is_refused(storage, fetch):
    keep(storage, b"other")
    response, notes = fetch()
    assert (response.status_code, response.json()["code"]) == (410, "file_damaged")
    assert notes == [True]


def test_a_large_file_that_changed_breaks_off(storage, fetch):
    keep(storage, CONTENT[:-1] + b"x")
    with pytest.raises(Damaged):
        fetch()


@pytest.mark.parametrize("ranges", ["bytes=0-9", "bytes=0-9,20-29", "bytes=-5"])
def test_no_part_of_a_file_that_changed_is_sent(storage, fetch, ranges):
    keep(storage, CONTENT[:-1] + b"x")
    response, notes = fetch(Range=ranges)
    assert (response.status_code, response.json()["code"]) == (410, "file_damaged")
    assert notes == [True]


def test_a_suspect_file_is_checked_before_it_is_sent(storage, fetch):
    keep(storage, CONTENT[:-1] + b"x")
    response, notes = fetch(is_suspect=True)
    assert (response.status_code, notes) == (410, [True])
    keep(storage, CONTENT)
    response, notes = fetch(is_suspect=True)
    assert response.content == CONTENT
    assert set(notes) == {False}


def test_a_file_is_read_once_for_its_parts(storage, fetch, monkeypatch):
    keep(storage, CONTENT)
    whole = []
    read = storage.read

    def note(key, start, end):
        whole.append((start, end) == (0, len(CONTENT)))
        return read(key, start, end)

    monkeypatch.setattr(storage, "read", note)
    for _ in range(3):
        response, _ = fetch(Range="bytes=5-9")
        assert response.status_code == 206
    assert whole.count(True) == 1

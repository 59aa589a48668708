"""Whatever a client asks for, the answer is the file, true parts of it, or a problem."""

import base64
import hashlib
from email import message_from_bytes
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import install
from app.http.download import Download, send_file
from app.storage import LocalStorage, ObjectStorage

CONTENT = bytes(range(200))
TAG = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["local", "bucket"])
def storage(request, tmp_path):
    if request.param == "local":
        storage = LocalStorage(tmp_path)
    else:
        storage = ObjectStorage(request.getfixturevalue("bucket"), tmp_path)
    with storage.stage() as staged:
        staged.write(CONTENT)
        staged.flush()
        storage.keep(Path(staged.name), "artifacts/job/file")
    return storage


@pytest.fixture
def app(storage):
    app = FastAPI()
    install(app)

    @app.head("/file")
    @app.get("/file")
    def get(request: Request):
        file = Download(
            "artifacts/job/file", TAG, "application/octet-stream", "näme.onnx"
        )
        return send_file(request, storage, file, redirect=False)

    return app


@pytest.fixture
def fetch(client_of, app):
    def call(**headers):
        named = {
            name.replace("_", "-"): value.encode("latin-1")
            for name, value in headers.items()
        }
        return client_of(app).get("/file", headers=named)

    return call


number = st.integers(0, 250).map(str)
spec = st.one_of(
    st.tuples(number, number).map("-".join),
    number.map("{}-".format),
    number.map("-{}".format),
    st.text("0-9x ,", max_size=4),
)
asked = st.one_of(
    st.lists(spec, min_size=1, max_size=3).map(
        lambda specs: "bytes=" + ", ".join(specs)
    ),
    st.from_regex(r"(?i)\A(bytes|items)?=?[-0-9, ]{0,9}\Z"),
    st.just("bytes=" + "9" * 5000 + "-"),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=15,
)
@given(asked)
def test_any_range(fetch, header):
    response = fetch(Range=header)
    if response.status_code == 206 and "content-range" in response.headers:
        place, _, size = (
            response.headers["content-range"].removeprefix("bytes ").partition("/")
        )
        first, last = map(int, place.split("-"))
        assert int(size) == len(CONTENT)
        assert response.content == CONTENT[first : last + 1] != b""
    elif response.status_code == 206:
        assert response.headers["content-type"].startswith("multipart/byteranges")
    elif response.status_code == 416:
        assert response.json()["code"] == "range_not_satisfiable"
        assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"
    else:
        assert response.status_code == 200
        assert response.content == CONTENT
    assert response.status_code == 416 or response.headers["etag"] == f'"{TAG}"'


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-", 206, CONTENT),
        ("bytes=-5", 206, CONTENT[-5:]),
        ("bytes=-500", 206, CONTENT),
        ("bytes=199-400", 206, CONTENT[199:]),
        ("Bytes=1-2", 206, CONTENT[1:3]),
        ("items=1-2", 200, CONTENT),
        ("bytes=x", 200, CONTENT),
        ("bytes=200-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=3-2", 416, None),
    ],
)
def test_known_ranges(fetch, header, status, content):
    response = fetch(Range=header)
    assert response.status_code == status
    assert content is None or response.content == content


def test_a_range_of_another_file_gives_the_whole_of_this_one(fetch):
    assert fetch(Range="bytes=500-", If_Range='"old"').content == CONTENT
    assert fetch(Range="bytes=1-1", If_Range=f'"{TAG}"').content == CONTENT[1:2]
    assert fetch(Range="bytes=1-1", If_Range=f'W/"{TAG}"').content == CONTENT


def test_a_range_applies_to_the_file_of_its_time(fetch):
    time = fetch().headers["last-modified"]
    assert fetch(Range="bytes=1-1", If_Range=time).content == CONTENT[1:2]
    assert (
        fetch(Range="bytes=1-1", If_Range="Thu, 01 Jan 1970 00:00:00 GMT").content
        == CONTENT
    )


def test_several_ranges_come_as_parts(fetch):
    response = fetch(Range="bytes=150-159,0-9,5-19,-5")
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + response.content).get_payload()
    assert int(response.headers["content-length"]) == len(response.content)
    assert [part["content-range"] for part in parts] == [
        "bytes 0-19/200",
        "bytes 150-159/200",
        "bytes 195-199/200",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [
        CONTENT[:20],
        CONTENT[150:160],
        CONTENT[195:],
    ]


def test_ranges_that_touch_come_as_one(fetch):
    response = fetch(Range="bytes=10-19,0-9")
    assert response.status_code == 206
    assert response.content == CONTENT[:20]


def test_too_many_ranges_give_the_whole_file(fetch):
    header = "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 200, 2))
    assert fetch(Range=header).status_code == 206
    assert fetch(Range=f"{header},199-199").content == CONTENT


@pytest.mark.parametrize(
    ("header", "status", "length"), [("", 200, 200), ("bytes=0-9", 206, 10)]
)
def test_head_has_the_headers_of_get(client_of, app, header, status, length):
    response = client_of(app).request("HEAD", "/file", headers={"Range": header})
    assert response.status_code == status
    assert response.content == b""
    assert int(response.headers["content-length"]) == length


def test_a_file_that_is_deleted_meanwhile_is_gone(fetch, storage, monkeypatch):
    info = storage.info("artifacts/job/file")
    storage.delete("artifacts/job/file")
    monkeypatch.setattr(type(storage), "info", lambda *_: info)
    assert fetch().status_code == 410
    assert fetch().json()["code"] == "file_gone"


@pytest.mark.parametrize("header", [f'"{TAG}"', f'W/"{TAG}"', f'"x", "{TAG}"', "*"])
def test_what_the_client_has_is_not_sent(fetch, header):
    response = fetch(If_None_Match=header, Range="bytes=1-1")
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == f'"{TAG}"'


def test_another_tag_is_another_file(fetch):
    assert fetch(If_None_Match='"x"').content == CONTENT


def test_the_name_is_safe_in_its_header(fetch):
    assert (
        fetch().headers["content-disposition"]
        == "attachment; filename*=utf-8''n%C3%A4me.onnx"
    )


def test_the_digest_is_that_of_the_whole(fetch):
    digest = base64.b64encode(bytes.fromhex(TAG)).decode()
    for headers in ({}, {"Range": "bytes=1-2"}, {"If_None_Match": f'"{TAG}"'}):
        assert fetch(**headers).headers["repr-digest"] == f"sha-256=:{digest}:"
        assert fetch(**headers).headers["digest"] == f"sha-256={digest}"


def test_a_file_that_is_lost_is_told(fetch, storage):
    storage.delete("artifacts/job/file")
    assert fetch().status_code == 410
    assert fetch().json()["code"] == "file_gone"

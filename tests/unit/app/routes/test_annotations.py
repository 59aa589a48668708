"""PATCH of a job's labels and note, and its log as text."""

import json

import pytest
from support.service.callers import FORM, bearing, post, token


@pytest.fixture
def job(client):
    return client.post("/jobs", **FORM).json()["id"]


def test_labels_and_note_change_and_the_job_comes_back(client, job):
    changed = client.request(
        "PATCH", f"/jobs/{job}", json={"labels": {"run": "7"}, "note": "good"}
    )
    assert changed.status_code == 200
    assert (changed.json()["labels"], changed.json()["note"]) == ({"run": "7"}, "good")
    now = client.get(f"/jobs/{job}")
    assert now.json() == changed.json()
    assert now.headers["ETag"] == changed.headers["ETag"]
    assert (
        client.request("PATCH", f"/jobs/{job}", json={"note": None}).json()["note"]
        is None
    )
    assert client.get("/jobs?label=run=7").json()["jobs"][0]["id"] == job


def test_of_two_changes_to_the_same_job_the_later_is_refused(client, job):
    tag = client.get(f"/jobs/{job}").headers["ETag"]
    first = client.request(
        "PATCH", f"/jobs/{job}", json={"note": "one"}, headers={"If-Match": tag}
    )
    second = client.request(
        "PATCH", f"/jobs/{job}", json={"note": "two"}, headers={"If-Match": tag}
    )
    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json()["code"] == "job_changed"
    assert client.get(f"/jobs/{job}").json()["note"] == "one"
    for header in (first.headers["ETag"], "*", f'"x", {first.headers["ETag"]}'):
        again = client.request(
            "PATCH", f"/jobs/{job}", json={"note": "one"}, headers={"If-Match": header}
        )
        assert again.status_code == 200
    weak = f"W/{first.headers['ETag']}"
    assert (
        client.request(
            "PATCH", f"/jobs/{job}", json={}, headers={"If-Match": weak}
        ).status_code
        == 412
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"state": "failed"}, "request_invalid"),
        ({"labels": {"a b": "c"}}, "labels_invalid"),
        ({"labels": "a=b"}, "request_invalid"),
        ({"note": 5}, "request_invalid"),
        ({"note": "\x07"}, "note_invalid"),
        ({"note": "x" * 2001}, "request_invalid"),
        ([], "request_invalid"),
        ({"note": "\ud800"}, "request_invalid"),
        ({"labels": {"a": "\ud800"}}, "labels_invalid"),
        ({"\ud800": 1}, "request_invalid"),
    ],
)
def test_what_cannot_be_changed_is_refused(client, job, body, code):
    # httpx would write no half of a surrogate pair; JSON has a way to
    content = json.dumps(body).encode()
    refused = client.request(
        "PATCH",
        f"/jobs/{job}",
        content=content,
        headers={"Content-Type": "application/json"},
    )
    assert (refused.status_code, refused.json()["code"]) == (422, code)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 60_000])
def test_a_body_that_is_no_json_is_refused(client, job, content):
    refused = client.request(
        "PATCH",
        f"/jobs/{job}",
        content=content,
        headers={"Content-Type": "application/json"},
    )
    assert 400 <= refused.status_code < 500
    assert refused.json()["code"] == "request_invalid"


def test_a_stranger_changes_and_reads_nothing(guarded):
    client = guarded()
    ann, bob, reader = token("ann"), token("bob"), token("ann", "read")
    job = post(client, ann).json()["id"]
    for path, method in ((f"/jobs/{job}", "PATCH"), (f"/jobs/{job}/log", "GET")):
        body = {"json": {"note": "x"}} if method == "PATCH" else {}
        answer = client.request(method, path, headers=bearing(bob), **body)
        assert answer.json()["code"] == "job_not_found"
    answer = client.request(
        "PATCH", f"/jobs/{job}", json={"note": "x"}, headers=bearing(reader)
    )
    assert answer.json()["code"] == "scope_missing"


def test_the_log_is_plain_text(client, job):
    log = client.get(f"/jobs/{job}/log")
    assert log.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert log.headers["X-Content-Type-Options"] == "nosniff"
    assert "queued: accepted" in log.text

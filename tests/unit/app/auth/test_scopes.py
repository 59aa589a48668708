"""A key opens exactly the calls of its scopes."""

import pytest
from support.service.callers import CALLS, MULTIPART, SHA256, bearing, post, token

from app.auth.keys import SCOPES

NO_JOB = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_every_call_needs_its_scope(guarded, method, path, scope):
    client = guarded()
    path = path.format(job_id=NO_JOB, sha256=SHA256)
    for other in SCOPES:
        answer = client.request(method, path, headers=bearing(token("ann", other)))
        assert (answer.status_code == 403) == (other not in (scope, "admin"))
        if answer.status_code == 403 and method != "HEAD":
            assert answer.json()["code"] == "scope_missing"
            assert answer.json()["expected"] == scope


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_does_not_exist_needs_no_scope(guarded, method):
    answer = guarded().request(
        method, "/nowhere", headers=bearing(token("ann", "metrics"))
    )
    assert answer.status_code == 404


def test_the_body_is_not_read_without_the_scope(guarded, unread_body):
    answer = guarded().post(
        "/jobs", headers=bearing(token("ann", "read")) | MULTIPART, **unread_body
    )
    assert answer.status_code == 403
    assert answer.json()["code"] == "scope_missing"


def test_scopes_are_kept_apart(guarded):
    client = guarded()
    reader = token("ann", "read")
    poster = token("ann", "submit")
    refused = post(client, reader)
    assert refused.status_code == 403
    assert refused.json()["code"] == "scope_missing"
    assert post(client, poster).status_code == 202
    assert client.get("/jobs", headers=bearing(poster)).status_code == 403
    assert client.get("/jobs", headers=bearing(reader)).status_code == 200

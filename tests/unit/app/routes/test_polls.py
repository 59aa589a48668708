"""The plain poll of a job answers as the described route does, ahead of all routes."""

import uuid

import pytest
from support.service.callers import FORM, bearing, post, token

from app.auth import keys
from app.db.session import transaction

PLAIN_AND_FULL = ("", "?wait=0")


def test_a_plain_poll_answers_as_the_described_route_does(client):
    path = f"/jobs/{client.post('/jobs', **FORM).json()['id']}"
    plain, full = (client.get(path + query) for query in PLAIN_AND_FULL)
    assert plain.status_code == full.status_code == 200
    assert plain.content == full.content
    same = ("ETag", "Retry-After", "Content-Type", "X-Frame-Options")
    assert [plain.headers[name] for name in same] == [
        full.headers[name] for name in same
    ]
    known = {"If-None-Match": plain.headers["ETag"]}
    assert [
        client.get(path + query, headers=known).status_code for query in PLAIN_AND_FULL
    ] == [304, 304]


@pytest.mark.parametrize("job_id", [str(uuid.UUID(int=0)), "nonsense"])
def test_an_unknown_job_is_the_same_problem(client, job_id):
    plain, full = (client.get(f"/jobs/{job_id}{query}") for query in PLAIN_AND_FULL)
    assert plain.status_code == full.status_code == 404
    assert plain.json() == full.json()
    assert plain.json()["code"] == "job_not_found"


def test_a_key_that_may_not_read_is_refused(guarded):
    client = guarded()
    path = f"/jobs/{post(client, token()).json()['id']}"
    with transaction() as session:
        _, writer = keys.create(session, "ann", ["submit"])
    for query in PLAIN_AND_FULL:
        refused = client.get(path + query, headers=bearing(writer))
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("method", ["PUT", "POST", "HEAD"])
def test_other_methods_have_the_routes_answer(client, method):
    path = f"/jobs/{client.post('/jobs', **FORM).json()['id']}"
    refused = client.request(method, path)
    assert refused.status_code == 405
    assert refused.headers["Allow"] == "GET, PATCH, DELETE"


def test_polls_are_counted_under_the_route_of_the_job(client):
    client.get(f"/jobs/{client.post('/jobs', **FORM).json()['id']}")
    pending = client.app.state.request_counts._pending._amounts
    series = {name for _, name in pending}
    assert any(name.startswith("GET /jobs/{job_id} 200") for name in series)

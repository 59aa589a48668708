"""The size of the headers is bounded, and two lengths are one too many."""

import pytest

from app.http.framing import MOST_HEADER_BYTES


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (MOST_HEADER_BYTES, 431)])
def test_headers_have_a_limit(client, size, status):
    answer = client.get("/healthz", headers={"X-Long": "x" * size})
    assert answer.status_code == status
    if status == 431:
        assert answer.headers["connection"] == "close"
        assert answer.json()["code"] == "headers_too_large"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_address_is_part_of_it(client):
    half = "x" * (MOST_HEADER_BYTES // 2)
    assert client.get(f"/healthz?{half}").status_code == 200
    assert client.get(f"/healthz?{half}", headers={"X-Long": half}).status_code == 431


def test_two_lengths_are_refused_before_the_body_is_read(client, unread_body):
    both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    answer = client.post("/jobs", headers=both, **unread_body)
    assert (answer.status_code, answer.json()["code"]) == (400, "length_ambiguous")
    assert answer.headers["connection"] == "close"

"""In a crowd of followers the service still answers, and holds no further connection."""

import time

import pytest
from support.service.callers import FORM

from app.jobs import watcher


@pytest.fixture
def crowded_job(client, monkeypatch):
    monkeypatch.setattr(watcher, "_MOST_FOLLOWERS", 0)
    return client.post("/jobs", **FORM).json()["id"]


def test_a_stream_is_refused_and_the_client_asks_again_later(client, crowded_job):
    answer = client.get(f"/jobs/{crowded_job}/events")
    assert (answer.status_code, answer.json()["code"]) == (503, "followers_exceeded")
    assert answer.headers["Retry-After"]


def test_a_client_that_would_wait_has_its_answer_at_once(client, crowded_job):
    began = time.monotonic()
    answer = client.get(f"/jobs/{crowded_job}?wait=60")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert time.monotonic() - began < 30

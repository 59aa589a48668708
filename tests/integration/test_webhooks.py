"""Webhooks to real receivers: signed, tried again, and never to where a stranger must not reach."""

import json
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from support.service.running_service import wait_for

from app.db.models import Delivery

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OPEN = {
    "webhook_secret": SECRET,
    "webhook_private_targets": "true",
    "webhook_retry_seconds": "0.1",
}


@contextmanager
def receiver(*answers):
    """A receiver that gives these answers, the last one for ever, and what it has been sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = answers[min(len(sent), len(answers) - 1)]
            sent.append((body, dict(self.headers), self.path))
            if callable(answer):
                answer()
                answer = 200
            self.send_response(answer)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?x=1", sent
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def calling_api(api_server, tmp_path_factory):
    """An API that calls receivers on this machine too, shared by these tests."""
    with api_server(tmp_path_factory.mktemp("calling"), **OPEN) as running:
        yield running


def delivery(api, job):
    """Return the one delivery of a job."""
    engine = create_engine(api.sql_url)
    with Session(engine) as session:
        row = session.scalars(
            select(Delivery).where(Delivery.job_id == uuid.UUID(job["id"]))
        ).one()
    engine.dispose()
    return row


def end(api, url):
    job = api.post(webhook_url=url)
    assert job.status_code == 202, job.text
    return api.http.post(f"/jobs/{job.json()['id']}/cancel").json()


def end_and_wait(api, url):
    job = end(api, url)
    wait_for(lambda: delivery(api, job).delivered_at, "the delivery")
    return job


def check_one_call(api):
    with receiver(204) as (target, sent):
        jobs = [
            end_and_wait(api, target) for _ in range(2)
        ]  # by the second's, the first's would have come again
        assert [delivery(api, job).due_at for job in jobs] == [None, None]
    for job, (body, headers, path) in zip(jobs, sent, strict=True):
        payload = Webhook(SECRET).verify(body, headers)
        assert payload["type"] == "job.cancelled"
        assert payload["data"] == job
        assert path == "/hook?x=1"
        assert headers["Host"] == target.split("/")[2]


def test_the_end_of_a_job_is_told_once_and_signed(calling_api):
    check_one_call(calling_api)


def test_the_same_on_postgresql(start_api, migrated_postgres_url):
    with start_api(**OPEN, database_url=migrated_postgres_url) as api:
        check_one_call(api)


def test_a_receiver_that_fails_is_called_again_under_the_same_id(calling_api):
    with receiver(500, 302, 200) as (url, sent):
        job = end(calling_api, url)
        wait_for(lambda: len(sent) == 3, "three calls")
        wait_for(
            lambda: delivery(calling_api, job).delivered_at, "the delivery to be noted"
        )
    assert len({headers["webhook-id"] for _, headers, _ in sent}) == 1
    assert {path for _, _, path in sent} == {"/hook?x=1"}  # no redirect is followed
    row = delivery(calling_api, job)
    assert row.attempt == 3
    assert row.error is None
    assert row.due_at is None


@pytest.mark.slow
def test_a_process_killed_while_it_delivers_costs_no_delivery(start_api, monkeypatch):
    gate = threading.Event()
    with receiver(lambda: gate.wait(60), 200) as (url, sent):
        with start_api(**OPEN) as api:
            job = end(api, url)
            wait_for(lambda: sent, "the first call")
            api.process.kill()
        gate.set()
        row = delivery(api, job)
        assert row.due_at
        assert row.attempt == 1
        engine = create_engine(api.sql_url)
        with Session(engine) as session, session.begin():
            session.get_one(
                Delivery, row.id
            ).due_at = row.created_at  # its half minute is over
        engine.dispose()
        with start_api(**OPEN) as api:
            wait_for(lambda: delivery(api, job).delivered_at, "the delivery")
        assert len(sent) == 2


def test_a_webhook_that_calls_the_service_itself_makes_no_job(calling_api):
    jobs = lambda: {job["id"] for job in calling_api.http.get("/jobs").json()["jobs"]}  # noqa: E731
    before = jobs()
    job = end(calling_api, f"{calling_api.http.base_url}/jobs")
    wait_for(lambda: delivery(calling_api, job).error, "the refusal")
    assert delivery(calling_api, job).error == "the receiver answered 415"
    assert jobs() - before == {job["id"]}


def test_slow_receivers_hold_up_no_other(calling_api):
    gate = threading.Event()
    with (
        receiver(lambda: gate.wait(60)) as (slow, waiting),
        receiver(200) as (fast, sent),
    ):
        try:
            for _ in range(12):
                end(calling_api, slow)
            wait_for(lambda: len(waiting) >= 12, "the slow ones")
            end(calling_api, fast)
            wait_for(
                lambda: sent, "the other call", 55
            )  # while the slow ones are still waited for
        finally:
            gate.set()


def test_a_name_that_leads_home_is_not_called(start_api):
    with (
        receiver(200) as (url, sent),
        start_api(webhook_secret=SECRET, webhook_retry_seconds="0.1") as api,
    ):
        job = end(api, url.replace("127.0.0.1", "localhost"))
        wait_for(lambda: delivery(api, job).error, "the refusal")
        assert delivery(api, job).error == "the receiver is not on the internet"
        assert sent == []


def test_a_service_without_a_secret_calls_nobody(api):
    response = api.post(webhook_url="https://example.com/")
    assert response.status_code == 422
    assert response.json()["code"] == "webhook_invalid"
    assert json.dumps(SECRET) not in response.text

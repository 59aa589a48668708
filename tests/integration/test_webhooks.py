"""Webhooks to real receivers: signed, tried again, and never to where a stranger must not reach."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from support.running_service import wait_for

from app.db.models import Delivery

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OPEN = {"webhook_secret": SECRET, "webhook_private_targets": "true", "webhook_retry_seconds": "0.1"}


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


def deliveries(api):
    engine = create_engine(api.sql_url)
    with Session(engine) as session:
        found = session.scalars(select(Delivery)).all()
    engine.dispose()
    return found


def end(api, url):
    job = api.post(webhook_url=url)
    assert job.status_code == 202, job.text
    return api.http.post(f"/jobs/{job.json()['id']}/cancel").json()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_end_of_a_job_is_told_once_and_signed(start_api, request, database):
    url = (
        {"database_url": request.getfixturevalue("postgres_url")}
        if database == "postgresql"
        else {}
    )
    with receiver(204) as (target, sent), start_api(**OPEN, **url) as api:
        job = end(api, target)
        wait_for(lambda: all(each.delivered_at for each in deliveries(api)), "the delivery", 10)
        time.sleep(1.5)
        [(body, headers, path)] = sent
        told = Webhook(SECRET).verify(body, headers)
        assert (told["type"], told["data"]) == ("job.cancelled", job)
        assert path == "/hook?x=1"
        assert headers["Host"] == target.split("/")[2]


def test_a_receiver_that_fails_is_called_again_under_the_same_id(start_api):
    with receiver(500, 302, 200) as (url, sent), start_api(**OPEN) as api:
        end(api, url)
        wait_for(lambda: len(sent) == 3, "three calls", 20)
        wait_for(lambda: deliveries(api)[0].delivered_at, "the delivery to be noted", 5)
        assert len({headers["webhook-id"] for _, headers, _ in sent}) == 1
        assert {path for _, _, path in sent} == {"/hook?x=1"}  # no redirect is followed
        [delivery] = deliveries(api)
        assert (delivery.attempt, delivery.error, delivery.due_at) == (3, None, None)


def test_a_process_killed_while_it_delivers_costs_no_delivery(start_api, monkeypatch):
    gate = threading.Event()
    with receiver(lambda: gate.wait(20), 200) as (url, sent):
        with start_api(**OPEN) as api:
            end(api, url)
            wait_for(lambda: sent, "the first call", 10)
            api.process.kill()
        gate.set()
        [delivery] = deliveries(api)
        assert delivery.due_at
        assert delivery.attempt == 1
        engine = create_engine(api.sql_url)
        with Session(engine) as session, session.begin():
            session.get_one(
                Delivery, delivery.id
            ).due_at = delivery.created_at  # its half minute is over
        engine.dispose()
        with start_api(**OPEN) as api:
            wait_for(lambda: deliveries(api)[0].delivered_at, "the delivery", 10)
        assert len(sent) == 2


def test_a_webhook_that_calls_the_service_itself_makes_no_job(start_api):
    with start_api(**OPEN) as api:
        end(api, f"{api.http.base_url}/jobs")
        wait_for(lambda: deliveries(api)[0].error, "the refusal", 10)
        assert deliveries(api)[0].error == "the receiver answered 415"
        assert len(api.http.get("/jobs").json()["jobs"]) == 1


def test_slow_receivers_hold_up_no_other(start_api):
    gate = threading.Event()
    with (
        receiver(lambda: gate.wait(20)) as (slow, waiting),
        receiver(200) as (fast, sent),
        start_api(**OPEN) as api,
    ):
        try:
            for _ in range(12):
                end(api, slow)
            wait_for(lambda: len(waiting) == 12, "the slow ones", 10)
            end(api, fast)
            wait_for(lambda: sent, "the other call", 5)
        finally:
            gate.set()


def test_a_name_that_leads_home_is_not_called(start_api):
    with (
        receiver(200) as (url, sent),
        start_api(webhook_secret=SECRET, webhook_retry_seconds="0.1") as api,
    ):
        end(api, url.replace("127.0.0.1", "localhost"))
        wait_for(lambda: deliveries(api)[0].error, "the refusal", 10)
        assert deliveries(api)[0].error == "the receiver is not on the internet"
        assert sent == []


def test_a_service_without_a_secret_calls_nobody(api):
    response = api.post(webhook_url="https://example.com/")
    assert (response.status_code, response.json()["code"]) == (422, "webhook_invalid")
    assert json.dumps(SECRET) not in response.text

"""A job that enters a state makes deliveries of its events; a new event is a line."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from app.db.models import Delivery, Job, Model
from app.db.session import now
from app.jobs.presentation import present_job
from app.jobs.transitions import change
from app.webhooks import deliveries, events


@pytest.fixture
def end(session):
    """End a job that has a webhook, and return it."""

    def end_job(state="cancelled"):
        at = now(session)
        job = Job(
            id=uuid.uuid4(),
            state="queued",
            created_at=at,
            filename="net.onnx",
            flops_budget="0.5",
            webhook_url="https://example.com/",
            model_sha256="a" * 64,
        )
        model = Model(
            sha256="a" * 64, format="onnx", bytes=1, created_at=at, used_at=at
        )
        session.add(session.get(Model, "a" * 64) or model)
        session.add(job)
        session.flush()
        change(session, at, state, "why", Job.id == job.id)
        session.commit()
        session.expire_all()
        return job

    return end_job


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_the_end_of_a_job_is_an_event(session, end, state):
    job = end(state)
    [claimed] = deliveries.claim(10)
    [delivery] = session.scalars(select(Delivery))
    assert delivery.event == f"job.{state}"
    assert claimed.url == job.webhook_url
    assert claimed.message.id == f"msg_{delivery.id.hex}"
    assert json.loads(claimed.message.body) == {
        "type": f"job.{state}",
        "timestamp": delivery.created_at.isoformat(),
        "data": present_job(job).model_dump(mode="json"),
    }
    assert deliveries.claim(10) == []


def test_a_new_event_is_a_line(session, end, monkeypatch):
    def number(job):
        return {"job": str(job.id)}

    added = events.WebhookEvent("job.stopped", "cancelled", number)
    monkeypatch.setattr(events, "EVENTS", (*events.EVENTS, added))
    monkeypatch.setattr(events, "BY_NAME", {**events.BY_NAME, added.name: added})
    job = end()
    bodies = [json.loads(claimed.message.body) for claimed in deliveries.claim(10)]
    by_type = {body["type"]: body["data"] for body in bodies}
    assert by_type.keys() == {"job.cancelled", "job.stopped"}
    assert by_type["job.stopped"] == {"job": str(job.id)}


def test_a_delivery_of_the_version_before_has_its_job_s_event(session, end):
    end("failed")
    session.execute(update(Delivery).values(event=None))
    session.commit()
    [claimed] = deliveries.claim(10)
    assert json.loads(claimed.message.body)["type"] == "job.failed"


def test_an_event_of_a_newer_version_is_left_to_it(session, end):
    end()
    session.execute(update(Delivery).values(event="job.archived"))
    session.commit()
    assert deliveries.claim(10) == []
    assert session.scalars(select(Delivery.attempt)).all() == [0]


def test_a_job_without_a_webhook_makes_no_delivery(session, end):
    end()
    session.execute(update(Job).values(webhook_url=None))
    change(session, datetime.now(UTC), "failed", "why", Job.state == "cancelled")
    assert len(session.scalars(select(Delivery)).all()) == 1


def test_names_fit_their_column():
    assert max(len(name) for name in events.BY_NAME) <= Delivery.event.type.length

"""The JSON of a job, field by field."""

import json
from datetime import UTC, datetime

import pytest
from support.service.posting import post

from app.db.models import Job
from app.jobs.presentation import present_job
from convpress import schemas


def test_a_job_is_shown_field_by_field(session):
    job = post(session)
    job.state = "failed"
    job.started_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    job.error = {"code": "model_invalid", "detail": "why", "got": "x"}
    session.commit()
    session.expire_all()
    shown = present_job(session.get_one(Job, job.id)).model_dump(mode="json")
    assert shown["started_at"] == "2026-01-02T03:04:05Z"
    assert shown["result"] is None
    assert shown["error"] == {
        "type": "urn:convpress:problem:model_invalid",
        "title": "The model cannot be loaded or run",
        "status": 422,
        "detail": "why",
        "instance": f"/jobs/{job.id}",
        "code": "model_invalid",
        "field": None,
        "expected": None,
        "got": "x",
    }


@pytest.mark.parametrize(
    ("state", "eta", "shown", "reason"),
    [
        ("queued", None, None, "the job waits for a worker"),
        (
            "running",
            None,
            None,
            "too little of the work is done to say, or all of it takes a few seconds",
        ),
        ("running", 41.2345, 41.2, None),
        ("running", 0.0, 0.0, None),
        ("succeeded", 3.0, None, "the job has ended"),
        ("cancelled", 3.0, None, "the job has ended"),
    ],
)
def test_the_time_left_is_a_number_or_has_a_reason(session, state, eta, shown, reason):
    job = post(session)
    job.state, job.eta_seconds = state, eta
    record = present_job(job)
    assert (record.eta_seconds, record.eta_reason) == (shown, reason)


def test_the_documented_example_is_a_job():
    example = schemas.Job.model_json_schema()["example"]
    text = json.dumps(example)
    assert schemas.Job.model_validate_json(text).model_dump(mode="json") == example

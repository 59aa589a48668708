"""Jobs in SQL, on both databases: one row a model, pages without gaps, ends that never lie."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app import jobs, schemas
from app.db import transaction
from app.errors import Problem
from app.models import Job, Model
from app.uploads import Upload


def upload(number=0):
    return Upload(Path("unused"), f"{number:064}", 4, "onnx", "net.onnx", "0.5", None)


def code_of(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.members["code"]


def test_a_new_job_waits_and_shares_its_models_row(session):
    before = datetime.now(UTC)
    first, second = jobs.create(session, upload()), jobs.create(session, upload())
    session.commit()
    session.expire_all()
    assert session.scalar(select(func.count()).select_from(Model)) == 1
    assert first.model is second.model
    assert (first.state, first.phase, first.progress, first.attempt, first.error) == ("queued", None, 0.0, 0, None)
    assert before <= first.created_at <= datetime.now(UTC)
    assert jobs.get(session, str(first.id)) is first


def test_the_same_model_posted_at_once_makes_as_many_jobs_and_one_model(each_database):
    def post(_):
        with transaction() as session:
            return jobs.create(session, upload(7)).id

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(post, range(40)))
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1
        assert set(session.scalars(select(Job.id))) == set(made)


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_pages_hold_every_job_once_even_of_one_moment_and_while_more_come(session, limit):
    moment = datetime.now(UTC)
    for number in range(10):
        jobs.create(session, upload(number)).created_at = moment + timedelta(seconds=number // 4)
    session.commit()
    expected = [job.id for job in session.scalars(select(Job).order_by(Job.created_at.desc(), Job.id.desc()))]
    seen, cursor = [], None
    while True:
        found, cursor = jobs.page(session, limit, cursor)
        seen += [job.id for job in found]
        assert len(found) <= limit
        if cursor is None:
            break
        jobs.create(session, upload(99)).created_at = moment + timedelta(days=1)
    assert seen == expected


def test_cursors_of_others_are_refused(session):
    for cursor in ("", "x", "8J-YgA==", "MjAyNiAx", "OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzo1OSAx"):
        assert code_of(jobs.page, session, 1, cursor) == "cursor_invalid"


def test_what_has_no_files_says_why(session):
    job = jobs.create(session, upload())
    session.commit()
    assert code_of(jobs.get, session, str(uuid.uuid4())) == "job_not_found"
    assert code_of(jobs.get, session, "no id") == "job_not_found"
    for state, code in {"queued": "job_unfinished", "running": "job_unfinished", "cancelled": "job_failed"}.items():
        job.state = state
        assert code_of(jobs.get_succeeded, session, str(job.id)) == code
    job.state = "succeeded"
    assert jobs.get_succeeded(session, str(job.id)) is job


def test_a_job_is_shown_field_by_field(session):
    job = jobs.create(session, upload())
    job.state, job.started_at = "failed", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    job.error = {"code": "model_invalid", "detail": "why", "got": "x"}
    session.commit()
    session.expire_all()
    shown = schemas.Job.of(session.get_one(Job, job.id)).model_dump(mode="json")
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


def test_the_documented_example_is_a_job():
    example = schemas.Job.model_json_schema()["example"]
    assert schemas.Job.model_validate(example).model_dump(mode="json") == example

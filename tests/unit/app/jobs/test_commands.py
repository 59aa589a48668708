"""Jobs in SQL, on both databases: one row a model, pages without gaps, ends that never lie."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from support.service.posting import post, submission

from app.db.models import Event, Job, Model
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands
from app.storage import get_storage


def code_of(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.members["code"]


def test_a_new_job_waits_and_shares_its_models_row(session):
    before = datetime.now(UTC)
    first = post(session)
    second = post(session)
    session.commit()
    session.expire_all()
    assert session.scalar(select(func.count()).select_from(Model)) == 1
    assert first.model is second.model
    assert first.state == "queued"
    assert first.phase is None
    assert first.progress == 0.0
    assert first.attempt == 0
    assert first.error is None
    assert before <= first.created_at <= datetime.now(UTC)
    assert commands.get(session, str(first.id)) is first


def test_the_same_model_posted_at_once_makes_as_many_jobs_and_one_model(each_database):
    def create(_):
        with transaction() as session:
            return post(session, 7).id

    with ThreadPoolExecutor(8) as pool:
        job_ids = list(pool.map(create, range(40)))
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Model)) == 1
        assert set(session.scalars(select(Job.id))) == set(job_ids)


def test_what_has_no_files_says_why(session):
    job = post(session)
    session.commit()
    assert code_of(commands.get, session, str(uuid.uuid4())) == "job_not_found"
    assert code_of(commands.get, session, "no id") == "job_not_found"
    for state, code in {
        "queued": "job_unfinished",
        "running": "job_unfinished",
        "cancelled": "job_failed",
    }.items():
        job.state = state
        assert code_of(commands.get_succeeded, session, str(job.id)) == code
    job.state = "succeeded"
    assert commands.get_succeeded(session, str(job.id)) is job


def test_a_key_gives_its_job_again_and_no_other(session):
    first = post(session, key="k")
    again, new = commands.create(session, get_storage(), submission(), "k")
    assert (again.id, new) == (first.id, False)
    assert code_of(post, session, 1, "k") == "idempotency_key_reused"
    assert (
        code_of(lambda: post(session, key="k", budgets={"flops_budget": "0.4"}))
        == "idempotency_key_reused"
    )
    assert post(session, key="other").id != first.id
    assert session.scalar(select(func.count()).select_from(Event)) == 2


def test_one_key_used_at_once_makes_one_job(each_database):
    def create(number):
        with transaction() as session:
            return commands.create(
                session,
                get_storage(),
                submission(number % 3, filename="n"),
                f"key {number % 3}",
            )

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(30)))
    assert sum(new for _, new in results) == 3
    assert len({job.id for job, _ in results}) == 3


def test_a_stored_model_serves_another_order_and_an_expired_one_comes_again(session):
    stored = submission(5)
    commands.create(session, get_storage(), stored)
    by_sha256 = submission(upload=None, sha256=stored.sha256)
    second, _ = commands.create(session, get_storage(), by_sha256)
    assert second.model_sha256 == stored.sha256
    assert (
        code_of(lambda: post(session, sha256="f" * 64, upload=None))
        == "model_not_found"
    )
    second.model.expired_at = datetime.now(UTC)
    session.flush()
    assert code_of(commands.create, session, get_storage(), by_sha256) == "model_gone"
    session.rollback()
    assert post(session, 5).model.expired_at is None

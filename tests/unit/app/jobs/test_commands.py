"""Jobs in SQL, on both databases: one row a model, pages without gaps, ends that never lie."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from support.posting import post, submission

from app.db.models import Event, Job, Model
from app.db.session import transaction
from app.errors import Problem
from app.identity import current_owner
from app.jobs import commands
from app.jobs.presentation import present_job
from app.storage import get_storage, model_key
from app.uploads.retention import MODELS, SAMPLES, release
from app.uploads.submission import Submission
from convpress import schemas
from convpress.options import JobOptions


def code_of(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.members["code"]


def test_a_new_job_waits_and_shares_its_models_row(session):
    before = datetime.now(UTC)
    first, second = post(session), post(session)
    session.commit()
    session.expire_all()
    assert session.scalar(select(func.count()).select_from(Model)) == 1
    assert first.model is second.model
    assert (first.state, first.phase, first.progress, first.attempt, first.error) == (
        "queued",
        None,
        0.0,
        0,
        None,
    )
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


def test_a_job_is_shown_field_by_field(session):
    job = post(session)
    job.state, job.started_at = "failed", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
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


def test_the_documented_example_is_a_job():
    example = schemas.Job.model_json_schema()["example"]
    assert schemas.Job.model_validate(example).model_dump(mode="json") == example


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
                session, get_storage(), submission(number % 3, filename="n"), f"key {number % 3}"
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
    assert code_of(lambda: post(session, sha256="f" * 64, upload=None)) == "model_not_found"
    second.model.expired_at = datetime.now(UTC)
    session.flush()
    assert code_of(commands.create, session, get_storage(), by_sha256) == "model_gone"
    session.rollback()
    assert post(session, 5).model.expired_at is None


@pytest.mark.parametrize(
    ("kind", "column"), [(MODELS, "model_sha256"), (SAMPLES, "samples_sha256")]
)
def test_what_one_owner_deletes_stays_for_another(session, kind, column):
    job = post(session, 6, samples=submission(8).upload)
    job.owner = "bob"
    session.commit()
    seen = current_owner.set("alice")
    try:
        with transaction() as confined:
            assert not release(confined, get_storage(), kind, getattr(job, column), None)
        assert current_owner.get() == "alice"
    finally:
        current_owner.reset(seen)
    assert get_storage().size(kind.key(getattr(job, column))) == 5


def test_a_model_that_is_being_deleted_is_stored_anew_by_who_uploads_it(each_database):
    """Whoever comes first: where both are done, a job has its model."""

    def let_go(_):
        with transaction() as session:
            release(session, get_storage(), MODELS, f"{3:064}", datetime.now(UTC))

    def upload(_):
        with transaction() as session:
            job = post(session, 3)
            session.flush()
            return job.id

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            with transaction() as session:
                post(session, 3).state = "cancelled"
            [job_id, _] = [
                call.result() for call in (pool.submit(upload, 0), pool.submit(let_go, 0))
            ]
            assert get_storage().size(model_key(f"{3:064}")) == 5
            with transaction() as session:
                job = session.get_one(Job, job_id)
                assert job.model.expired_at is None
                job.state = "cancelled"


SAMPLED = {
    "budgets": {"latency_budget": "12ms", "params_budget": "50%"},
    "input_shape": "1x3x8x8",
    "calibration": "samples",
    "samples_sha256": "b" * 64,
    "input_mean": "0.5",
    "input_std": "0.2",
}
UNCALIBRATED = {
    "budgets": {"flops_budget": "0.5", "bytes_budget": "1MB"},
    "flops_at_any_price": True,
    "calibration": "none",
    "input_range": "0,255",
}
CALLED = {"labels": {"team": "vision"}, "webhook_url": "https://example.com/hook"}


@pytest.mark.parametrize(
    ("options", "members", "fingerprint"),
    [
        (
            {"budgets": {"flops_budget": "0.5"}},
            {},
            "fc5462d19cf1a7e0f8c0e1676bb8d46e25a97af7526dc79d4b7b0985515b9112",
        ),
        (SAMPLED, CALLED, "a7b50dac26c99dcd07d1fb9221896f4ed917c7fe46143696d80ee73c8c6d04c2"),
        (UNCALIBRATED, {}, "80f2b0e9361df2c686ce01b35150525e795b390531e362cf7ba8d33c4910a682"),
    ],
    ids=["plain", "sampled", "uncalibrated"],
)
def test_a_fingerprint_is_what_it_was_in_the_version_that_first_knew_its_options(
    options, members, fingerprint
):
    first = Submission("a" * 64, "net.onnx", JobOptions(**options), **members)
    assert first.fingerprint() == fingerprint
    for changed in ({"budgets": {"params_budget": "0.4"}}, {"input_shape": "1x1x4x4"}):
        other = replace(first, options=replace(first.options, **changed))
        assert other.fingerprint() != fingerprint

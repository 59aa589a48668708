"""An advice takes the options of the latest job, and is no job with an artifact."""

import pytest
from support.service.posting import post

from app.db.session import transaction
from app.errors import Problem
from app.jobs import advice
from app.storage import get_storage


@pytest.fixture
def session(settings):
    with transaction() as session:
        yield session


def refusal(call, *arguments):
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.members["code"]


def test_an_advice_has_the_inputs_of_the_latest_job_and_none_of_its_budgets(session):
    post(session, filename="old.onnx", input_shape="1x3x8x8")
    latest = post(session, filename="new.onnx", input_shape="1x3x9x9")
    job = advice.advise(session, get_storage(), latest.model_sha256)
    assert (job.kind, job.filename, job.input_shape) == (
        "advice",
        "new.onnx",
        "1x3x9x9",
    )
    assert dict(job.budgets) == {}


def test_an_unknown_model_has_no_advice(session):
    assert refusal(advice.advise, session, get_storage(), "f" * 64) == "model_not_found"


def test_a_model_whose_jobs_are_deleted_has_no_options_to_take(session):
    job = post(session)
    session.delete(job)
    session.flush()
    storage = get_storage()
    assert refusal(advice.advise, session, storage, f"{0:064}") == "model_not_found"


def test_an_advice_that_has_succeeded_has_no_artifact(session):
    job = post(session)
    adviser = advice.advise(session, get_storage(), job.model_sha256)
    assert refusal(advice.get_compressed, session, str(job.id)) == "job_unfinished"
    job.state = adviser.state = "succeeded"
    assert advice.get_compressed(session, str(job.id)) is job
    assert (
        refusal(advice.get_compressed, session, str(adviser.id)) == "artifact_missing"
    )

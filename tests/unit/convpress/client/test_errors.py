"""The message of an error says why the job has no artifact."""

import pytest
from support.service.rendering import example_job

from app.errors import document
from convpress.client.errors import JobFailed, Refused, TooLate
from convpress.schemas import Problem

PROBLEM = Problem.model_validate(
    document({"code": "budget_unreachable", "detail": "too little"}, "/jobs/7")
)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ("cancelled", None, "the job was cancelled"),
        ("failed", None, "the job has failed"),
        ("failed", PROBLEM, "budget_unreachable: too little"),
    ],
)
def test_a_job_that_failed_says_why(state, error, message):
    job = example_job().model_copy(update={"state": state, "error": error})
    failure = JobFailed(job)
    assert (str(failure), failure.job) == (message, job)


def test_other_errors_name_their_problem_or_state():
    assert str(Refused(PROBLEM)) == "budget_unreachable: too little"
    job = example_job().model_copy(update={"state": "running"})
    assert str(TooLate(job, 2.50)) == "the job is still running after 2.5 seconds"

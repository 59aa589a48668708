"""The parts of the description that are made from the tables of codes and options."""

from app.errors import PROBLEM_TYPES
from app.openapi import ADVICE_FORM, JOB_FORM, problems
from convpress.budgets import KINDS


def fields(form):
    content = form["requestBody"]["content"]["multipart/form-data"]
    return content["schema"]["properties"]


def test_problems_of_one_status_are_one_response_with_an_example_each():
    responses = problems("job_not_found", "file_gone", "model_not_found")
    assert list(responses) == [404, 410]
    assert responses[404]["description"] == "`job_not_found` or `model_not_found`"
    content = responses[404]["content"]["application/problem+json"]
    example = content["examples"]["model_not_found"]["value"]
    assert example["detail"] == PROBLEM_TYPES["model_not_found"].title
    assert (example["code"], example["status"]) == ("model_not_found", 404)


def test_no_problem_is_no_response():
    assert problems() == {}


def test_the_form_of_an_advice_has_no_budget():
    assert set(KINDS) <= fields(JOB_FORM).keys()
    assert not set(KINDS) & fields(ADVICE_FORM).keys()
    assert fields(ADVICE_FORM).keys() < fields(JOB_FORM).keys()

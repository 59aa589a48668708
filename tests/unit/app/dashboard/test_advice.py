"""Every problem has its next step, and a failed job is shown with it."""

import pytest

from app.dashboard.advice import advice, shown_error
from convpress.refusal import Code


@pytest.mark.parametrize("code", Code)
def test_every_failure_of_a_job_comes_with_advice_or_says_enough(code):
    # The form of factorisation is an option of the command line alone, and these name the field.
    self_explaining = {
        Code.BUDGET_MISSING,
        Code.FORM_INVALID,
        Code.MODEL_MISSING,
        Code.LABELS_INVALID,
    }
    assert advice(code) or code in self_explaining


def test_an_unknown_code_has_no_advice():
    assert advice("a code of a newer worker") is None


def test_a_problem_is_shown_with_all_members_its_advice_and_its_remedy():
    error = {
        "code": "budget_unreachable",
        "detail": "too little",
        "field": "flops_budget",
        "expected": "at least 0.0421, or 3436 FLOPs",
        "status": 422,
    }
    assert shown_error(error) == {
        "code": "budget_unreachable",
        "detail": "too little",
        "field": "flops_budget",
        "expected": "at least 0.0421, or 3436 FLOPs",
        "got": None,
        "advice": advice("budget_unreachable"),
        "change_helps": True,
        "suggested": {"flops_budget": "0.043"},
    }


def test_a_job_without_an_error_shows_none():
    assert shown_error(None) is None

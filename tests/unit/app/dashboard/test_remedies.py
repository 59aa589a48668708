"""What can be done about a failed job, and no promise where nothing can be."""

import pytest

from app.dashboard.remedies import change_helps, retry_helps, suggested_fields

UNREACHABLE = {
    "code": "budget_unreachable",
    "field": "flops_budget",
    "expected": "at least 0.0421, or 3436 FLOPs",
}


@pytest.mark.parametrize(
    ("code", "as_it_is", "with_changes"),
    [
        ("worker_lost", True, True),
        ("out_of_memory", True, True),
        ("budget_unreachable", False, True),
        ("input_shape_mismatch", False, True),
        ("model_invalid", False, False),
        ("model_unsafe", False, False),
        ("nothing_to_compress", False, False),
        ("a code of a newer worker", False, False),
    ],
)
def test_an_error_is_worth_another_try_or_not(code, as_it_is, with_changes):
    assert (retry_helps({"code": code}), change_helps({"code": code})) == (
        as_it_is,
        with_changes,
    )


def test_a_cancelled_job_may_run_again():
    assert retry_helps(None)


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (UNREACHABLE, {"flops_budget": "0.043"}),
        (
            UNREACHABLE | {"expected": "at least 0.0420, or 3 B"},
            {"flops_budget": "0.043"},
        ),
        (UNREACHABLE | {"expected": "at least 0.9999, or 3 B"}, {"flops_budget": "1"}),
        (UNREACHABLE | {"expected": "larger budgets, or fewer"}, {}),
        (UNREACHABLE | {"field": "other"}, {}),
        (
            {
                "code": "input_shape_mismatch",
                "field": "input_shape",
                "expected": "1x3x32x32",
            },
            {"input_shape": "1x3x32x32"},
        ),
        (
            {
                "code": "input_shape_mismatch",
                "field": "input_shape",
                "expected": "1x?x32x32",
            },
            {},
        ),
        ({"code": "input_shape_required", "field": "input_shape"}, {}),
        ({"code": "model_invalid"}, {}),
    ],
)
def test_only_what_the_error_tells_is_suggested(error, fields):
    assert suggested_fields(error) == fields

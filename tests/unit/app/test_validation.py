"""What FastAPI's validation refuses, as the members of a problem."""

import pytest

from app.validation import problem_members


@pytest.mark.parametrize(
    ("error", "field", "detail", "expected"),
    [
        (
            {
                "loc": ("query", "limit"),
                "type": "greater_than_equal",
                "msg": "Input should be greater than or equal to 1",
            },
            "limit",
            "limit cannot be taken",
            "greater than or equal to 1",
        ),
        (
            {
                "loc": ("query", "wait"),
                "type": "float_parsing",
                "msg": "Input should be a valid number, unable to parse it",
            },
            "wait",
            "wait cannot be taken",
            "a valid number",
        ),
        (
            {"loc": ("body", 7), "type": "json_invalid", "msg": "JSON decode error"},
            "body",
            "body is no JSON",
            "an object of JSON",
        ),
        (
            {"loc": ("body", "notes"), "type": "extra_forbidden", "msg": "-"},
            "notes",
            "there is no field 'notes'",
            None,
        ),
    ],
)
def test_an_error_names_the_field_and_what_was_expected(error, field, detail, expected):
    members = problem_members({**error, "input": "x" * 200}, None)
    assert members["code"] == "request_invalid"
    assert (members["field"], members["detail"]) == (field, detail)
    assert members.get("expected") == expected
    assert members["got"] == "x" * 100


def test_half_a_surrogate_pair_can_be_written():
    error = {"loc": ("body", "note"), "type": "string_type", "msg": "-"}
    members = problem_members({**error, "input": "\ud800"}, None)
    assert members["got"] == r"\ud800"

"""The list of jobs over HTTP: filters that cannot be taken."""

import pytest


@pytest.mark.parametrize(
    ("filters", "code", "field"),
    [
        ({"state": "done"}, "request_invalid", "state"),
        ({"label": "team"}, "labels_invalid", "label"),
        ({"model_sha256": "7"}, "request_invalid", "model_sha256"),
        ({"created_from": "yesterday"}, "request_invalid", "created_from"),
        ({"created_from": "1777863721"}, "request_invalid", "created_from"),
        ({"created_before": "-1.5e9"}, "request_invalid", "created_before"),
        ({"created_from": "2026-01-01T00:00:00"}, "request_invalid", "created_from"),
        (
            {"created_from": "0001-01-01T00:00:00+23:59"},
            "request_invalid",
            "created_from",
        ),
        (
            {"created_before": "9999-12-31T23:59:59-23:59"},
            "request_invalid",
            "created_before",
        ),
    ],
)
def test_a_bad_filter_is_refused(client, filters, code, field):
    response = client.get("/jobs", params=filters)
    assert response.status_code == 422
    assert response.json()["code"] == code
    assert response.json()["field"] == field


def test_a_filter_that_there_is_not_is_refused_with_those_that_there_are(client):
    response = client.get("/jobs", params={"lable": "team=vision"})
    assert response.status_code == 422
    problem = response.json()
    assert problem["field"] == "lable"
    assert problem["got"] == "team=vision"
    assert problem["expected"] == (
        "one of state, model_sha256, kind, label, created_from, created_before, limit, cursor"
    )


def test_of_a_long_name_that_there_is_not_the_refusal_has_the_first_characters(client):
    problem = client.get("/jobs", params={"x" * 5000: "1"}).json()
    assert problem["field"] == "x" * 100
    assert len(problem["detail"]) < 200

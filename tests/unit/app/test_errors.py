"""Every way to fail ends in a problem document with its status."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from support.service.callers import FORM

from app.errors import PROBLEM_TYPES, Problem, document
from convpress.refusal import Code, Refusal


def fail_in_sql():
    with create_engine("sqlite:////nonexistent/x.db").connect() as connection:
        connection.execute(text("SELECT 1"))


def fail_on_a_full_database(folder):
    engine = create_engine(f"sqlite:///{folder}/small.db")
    with engine.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 4"))
        connection.execute(text("CREATE TABLE IF NOT EXISTS t (x BLOB)"))
        connection.execute(text("INSERT INTO t VALUES (zeroblob(100000))"))


@pytest.mark.parametrize("code", PROBLEM_TYPES)
def test_a_problem_carries_the_status_of_its_code(answer, code):
    response = answer(Problem(code, "why", field="f", headers={"Retry-After": "3"}))
    assert response.status_code == PROBLEM_TYPES[code].status
    assert response.headers["retry-after"] == "3"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": f"urn:convpress:problem:{code}",
        "title": PROBLEM_TYPES[code].title,
        "status": PROBLEM_TYPES[code].status,
        "detail": "why",
        "instance": "/call",
        "code": code,
        "field": "f",
    }


def test_a_refusal_of_the_contract_is_a_problem(answer):
    response = answer(
        Refusal(
            Code.BUDGET_INVALID, "why", field="flops_budget", expected="0.5", got="x"
        )
    )
    assert response.status_code == 422
    assert (
        response.json().items()
        >= {"code": "budget_invalid", "expected": "0.5", "got": "x"}.items()
    )


def test_the_frameworks_refusals_are_problems(answer, client):
    assert (
        answer(HTTPException(418, "teapot")).json().items()
        >= {"status": 418, "code": "request_invalid"}.items()
    )
    refused = client.request("DELETE", "/jobs")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"limit": "0"}, "greater than or equal to 1"),
        ({"limit": "ten"}, "a valid integer"),
        ({"model_sha256": "7"}, "the pattern '^[0-9a-f]{64}$'"),
    ],
)
def test_a_filter_of_another_form_is_answered_with_the_expected_one(
    client, filters, expected
):
    [(field, value)] = filters.items()
    problem = client.get("/jobs", params=filters).json()
    assert problem["detail"] == f"{field} cannot be taken"
    assert (problem["field"], problem["expected"]) == (field, expected)
    assert problem["got"] == value


@pytest.mark.parametrize(
    ("body", "detail", "expected"),
    [
        ({"labels": "a=b"}, "labels is no object of JSON", "an object"),
        (["note"], "body is no object of JSON", "an object"),
        ({"state": "failed"}, "there is no field 'state'", None),
        ({"note": "x" * 2001}, "note cannot be taken", "at most 2000 characters"),
    ],
)
def test_a_body_of_another_form_is_answered_with_the_expected_one(
    client, body, detail, expected
):
    job = client.post("/jobs", **FORM).json()["id"]
    problem = client.request("PATCH", f"/jobs/{job}", json=body).json()
    assert (problem["detail"], problem.get("expected")) == (detail, expected)


def test_a_database_that_does_not_answer(answer):
    response = answer(fail_in_sql)
    assert response.status_code == 503
    assert response.json()["code"] == "database_unavailable"
    assert "nonexistent" not in response.text


def test_a_full_database(answer, tmp_path):
    with pytest.raises(OperationalError, match="full"):
        fail_on_a_full_database(tmp_path)
    assert answer(lambda: fail_on_a_full_database(tmp_path)).status_code == 507


def test_a_problem_of_a_newer_worker_can_still_be_shown():
    assert document({"code": "brand_new", "detail": "why"}, "/jobs/7")["status"] == 422


def test_a_long_address_is_cut_in_the_document():
    members = {"code": "headers_too_large", "detail": "too long"}
    assert document(members, "/" + "a" * 70_000)["instance"] == "/" + "a" * 299


def test_a_long_address_is_cut_in_the_detail_too(client):
    problem = client.get("/" + "a" * 5000).json()
    assert problem["detail"] == "GET /" + "a" * 299 + ": Not Found"

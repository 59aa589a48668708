"""Every way to fail ends in a problem document with its status."""

import pytest
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from app.errors import PROBLEM_TYPES, Problem, document, install
from app.http.request_context import RequestContext
from app.stats.request_counts import RequestCounts
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


@pytest.fixture
def answer(client_of):
    """What a failing call is answered with."""

    def call(error, **options):
        app = FastAPI()
        app.state.request_counts = RequestCounts()
        install(app)
        app.add_middleware(RequestContext)

        @app.get("/call")
        def fail():
            if isinstance(error, Exception):
                raise error
            return error()

        return client_of(app).get("/call", **options)

    return call


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


def test_a_database_that_does_not_answer(answer):
    response = answer(fail_in_sql)
    assert response.status_code == 503
    assert response.json()["code"] == "database_unavailable"
    assert "nonexistent" not in response.text


def test_a_full_database(answer, tmp_path):
    with pytest.raises(OperationalError, match="full"):
        fail_on_a_full_database(tmp_path)
    assert answer(lambda: fail_on_a_full_database(tmp_path)).status_code == 507


def test_the_unexpected_is_logged_in_full_and_told_in_short(answer):
    with capture_logs() as logs:
        response = answer(RuntimeError("secret"), headers={"X-Request-ID": "r-1"})
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert "secret" not in response.text
    assert "r-1" in response.json()["detail"]
    assert response.headers["x-request-id"] == "r-1"
    failure = next(line for line in logs if line["event"] == "unexpected error")
    assert failure["exc_info"]
    assert next(line for line in logs if line["event"] == "request")["status"] == 500


def test_a_client_that_went_away_is_no_error(answer):
    with (
        capture_logs() as logs,
        pytest.raises(AssertionError),
    ):  # httpx misses the answer that nobody is there to read
        answer(ClientDisconnect())
    assert {line["log_level"] for line in logs} == {"info"}


@pytest.mark.parametrize("request_id", ["a b", "x" * 65, "é", "", "a\x7f", '"'])
def test_a_request_id_that_could_harm_is_replaced(answer, request_id):
    response = answer(lambda: "ok", headers={"X-Request-ID": request_id.encode()})
    assert response.headers["x-request-id"].isalnum()


def test_a_problem_of_a_newer_worker_can_still_be_shown():
    assert document({"code": "brand_new", "detail": "why"}, "/jobs/7")["status"] == 422

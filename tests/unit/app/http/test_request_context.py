"""A request has an id, a line in the log, and an answer whatever fails."""

import pytest
from starlette.requests import ClientDisconnect
from structlog.testing import capture_logs

from app.http import request_context


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


def test_a_safe_request_id_is_kept(answer):
    response = answer(lambda: "ok", headers={"X-Request-ID": "deploy-7.a_b"})
    assert response.headers["x-request-id"] == "deploy-7.a_b"


@pytest.mark.parametrize("is_debug", [True, False])
def test_a_read_that_succeeds_is_a_line_at_debug_alone(answer, monkeypatch, is_debug):
    log = request_context._stdlib_log
    monkeypatch.setattr(log, "isEnabledFor", lambda level: is_debug)
    with capture_logs() as logs:
        assert answer(lambda: "ok").status_code == 200
    levels = [line["log_level"] for line in logs if line["event"] == "request"]
    assert levels == ["debug"] * is_debug

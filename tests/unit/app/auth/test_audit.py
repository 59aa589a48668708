"""Each use of an admin key is in the log, whatever its level, without the key itself."""

import json
import logging

import pytest
import structlog
from support.service.callers import bearing, post, token

from app.auth import audit


@pytest.fixture
def trail():
    """The lines of the log since the test began; those of the audit trail by `lines_of`."""
    merge = structlog.contextvars.merge_contextvars
    with structlog.testing.capture_logs(processors=[merge]) as lines:
        yield lines


def lines_of(trail):
    return [line for line in trail if line["event"] == "admin key used"]


def test_every_request_of_an_admin_is_in_the_trail(guarded, trail):
    client = guarded()
    admin = token("root", "admin")
    number = admin.split("_")[1]
    job = post(client, admin).json()["id"]
    headers = bearing(admin) | {"X-Request-ID": "audited"}
    client.request("DELETE", f"/jobs/{job}", headers=headers)
    client.get("/no-such-path", headers=headers)
    lines = lines_of(trail)
    assert [(line["method"], line["path"]) for line in lines] == [
        ("POST", "/jobs"),
        ("DELETE", f"/jobs/{job}"),
        ("GET", "/no-such-path"),
    ]
    assert {(line["key"], line["owner"], line["address"]) for line in lines} == {
        (number, "root", "127.0.0.1")
    }
    assert lines[1]["request_id"] == "audited"
    assert admin[-20:] not in json.dumps(lines)


def test_an_admin_who_signs_in_is_in_the_trail(guarded, trail):
    client = guarded()
    client.post(
        "/dashboard/sign-in",
        data={"key": token("root", "admin")},
        headers={"Origin": "http://localhost"},
    )
    assert [line["path"] for line in lines_of(trail)] == ["/dashboard/sign-in"]


def test_other_keys_leave_no_trail(guarded, trail):
    client = guarded()
    post(client, token("ann"))
    client.get("/jobs", headers=bearing("cp_" + "0" * 16 + "_" + "x" * 43))
    assert lines_of(trail) == []


def test_the_level_of_the_log_does_not_cut_the_trail(monkeypatch):
    monkeypatch.setattr(logging.root, "level", logging.ERROR)
    assert logging.getLogger(audit.__name__).isEnabledFor(logging.INFO)
    assert not logging.getLogger("app.auth.other").isEnabledFor(logging.INFO)

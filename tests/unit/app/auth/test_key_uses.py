"""The last use of a key is written at most once a minute, and never at the cost of the request."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import OperationalError
from support.service.callers import bearing, token

from app.auth import key_uses, keys
from app.db.session import transaction


def used_at():
    with transaction() as session:
        [key] = keys.listed(session)
    return key.used_at


def test_many_requests_write_once(guarded, monkeypatch):
    writes = []
    mark_used = keys.mark_used
    monkeypatch.setattr(
        keys, "mark_used", lambda *arguments: (writes.append(1), mark_used(*arguments))
    )
    client = guarded()
    headers = bearing(token())
    assert used_at() is None
    for _ in range(3):
        assert client.get("/jobs", headers=headers).status_code == 200
    assert datetime.now(UTC) - used_at() < timedelta(minutes=1)
    assert len(writes) == 1


def test_a_refused_key_is_not_used(guarded):
    client = guarded()
    good = token()
    client.get("/jobs", headers=bearing(good[:-1] + ("a" if good[-1] != "a" else "b")))
    assert used_at() is None


def test_a_database_that_cannot_be_written_costs_no_request(guarded, monkeypatch):
    def fail(*_):
        raise OperationalError("", {}, Exception("database is locked"))

    monkeypatch.setattr(keys, "mark_used", fail)
    client = guarded()
    assert client.get("/jobs", headers=bearing(token())).status_code == 200
    assert used_at() is None


def test_a_use_is_due_again_after_a_minute(monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(key_uses.time, "monotonic", lambda: moment[0])
    uses = key_uses.KeyUses()
    due = []
    for moment[0] in (100.0, 100.1, 159.9, 160.0, 161.0):
        due.append(uses.is_due("a"))
    assert due == [True, False, False, True, False]
    assert uses.is_due("b")

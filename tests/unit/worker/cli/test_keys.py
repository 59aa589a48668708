"""The commands for API keys, and the database that they name."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from app import auth
from app.auth import keys
from app.db.session import transaction
from worker.cli import exits


def test_keys_are_made_listed_and_revoked(run, data_dir):
    result = run("keys", "create", "ann", "--scope", "read", "--create")
    assert result.exit_code == 0
    number, secret = result.stdout.strip().removeprefix("cp_").split("_", 1)
    listed = run("keys", "list").stdout
    assert number in listed
    assert "ann" in listed
    assert secret not in listed
    [record] = json.loads(run("keys", "list", "--json").stdout)
    assert (record["id"], record["owner"], record["scopes"]) == (
        number,
        "ann",
        ["read"],
    )
    assert record["revoked_at"] is None
    assert secret not in json.dumps(record)
    assert run("keys", "revoke", number).exit_code == 0
    assert run("keys", "revoke", number).exit_code == 1
    assert run("keys", "create", "ann", "--scope", "root").exit_code == 2
    assert run("keys", "create", "a b").exit_code == 2


@pytest.mark.parametrize("command", [("create", "ann"), ("list",), ("revoke", "1")])
def test_keys_need_the_server(run, monkeypatch, command):
    monkeypatch.setattr(exits, "find_spec", lambda name: None)
    # as where its packages are missing
    monkeypatch.delattr(auth, "keys")
    monkeypatch.setitem(sys.modules, "app.auth.keys", None)
    ended = run("keys", *command)
    assert ended.exit_code == 2
    assert "pip install 'convpress[server]'" in ended.stderr


def test_an_empty_list_of_keys_says_how_to_make_one(run, data_dir):
    run("keys", "create", "ann", "--create")
    with transaction() as session:
        session.delete(keys.listed(session)[0])
    assert "keys create OWNER" in run("keys", "list").stdout
    assert run("keys", "list", "--json").stdout.strip() == "[]"


def test_a_wrong_key_is_refused_before_a_database_is_looked_for(run, data_dir):
    result = run("keys", "create", "ann", "--scope", "reed")
    assert result.exit_code == 2
    assert "submit, read, metrics, admin, not reed: did you mean read?" in result.stderr
    assert "database" not in result.stderr


def test_a_key_expires_after_days_or_at_the_end_of_a_day(run, data_dir):
    run("keys", "create", "ann", "--expires", "90d", "--create")
    assert run("keys", "create", "bob", "--expires", "2999-12-30").exit_code == 0
    assert run("keys", "create", "cat").exit_code == 0
    with transaction() as session:
        ann, bob, cat = keys.listed(session)
    assert ann.expires_at - ann.created_at == pytest.approx(
        timedelta(days=90), abs=timedelta(minutes=1)
    )
    assert bob.expires_at == datetime(2999, 12, 31, tzinfo=UTC)
    assert cat.expires_at is None
    listed = run("keys", "list").stdout
    assert "2999-12-31 00:00" in listed
    for wrong in (
        "0d",
        "90",
        "d",
        "-1d",
        "1000000d",
        "2001-01-01",
        "9999-12-31",
        "soon",
    ):
        done = run("keys", "create", "ann", "--expires", wrong)
        assert (done.exit_code, done.stdout) == (2, ""), wrong

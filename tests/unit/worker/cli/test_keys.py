"""The commands for API keys, and the database that they name."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from app.auth import keys
from app.db.session import transaction
from app.settings import get_settings


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CONVPRESS_DATABASE_URL", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "data"
    get_settings.cache_clear()


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


@pytest.mark.parametrize(
    "command",
    [["create", "ann"], ["list"], ["revoke", "0" * 16]],
    ids=lambda parts: parts[0],
)
def test_keys_create_no_database_unless_that_is_asked_for(run, data_dir, command):
    done = run("keys", *command)
    assert done.exit_code == 2
    assert f"sqlite:///{data_dir}/convpress.db" in done.stderr
    assert "CONVPRESS_DATABASE_URL" in done.stderr
    assert not data_dir.exists()


def test_a_file_without_tables_is_no_database(run, data_dir):
    data_dir.mkdir()
    (data_dir / "convpress.db").touch()
    assert run("keys", "list").exit_code == 2
    assert (data_dir / "convpress.db").read_bytes() == b""


def test_keys_name_their_database_without_its_password(
    run, data_dir, monkeypatch, postgres_url
):
    address = postgres_url.partition("@")[2]
    user = "postgresql+psycopg://postgres"
    url = f"{user}:s3cret@{address}?application_name=h1dden"
    monkeypatch.setenv("CONVPRESS_DATABASE_URL", url)
    get_settings.cache_clear()
    refused = run("keys", "create", "ann")
    assert refused.exit_code == 2
    created = run("keys", "create", "ann", "--create")
    assert created.exit_code == 0, created.output
    assert run("keys", "create", "bob").exit_code == 0
    for done in (refused, created):
        assert f"{user}:***@{address}" in done.stderr
        assert "s3cret" not in done.output
        assert "h1dden" not in done.output
    assert "database" not in created.stdout


def test_a_database_that_does_not_answer_is_named(run, data_dir, monkeypatch):
    url = "postgresql+psycopg://ann:s3cret@127.0.0.1:1/none"
    monkeypatch.setenv("CONVPRESS_DATABASE_URL", url)
    get_settings.cache_clear()
    done = run("keys", "list")
    assert done.exit_code == 4
    assert "ann:***@127.0.0.1:1/none" in done.stderr
    assert "s3cret" not in done.output


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

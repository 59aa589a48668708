"""Commands name the settings that are wrong, and the database that they use."""

import pytest

from app.settings import get_settings


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


@pytest.mark.parametrize(
    "command", ["serve", "worker", "demo", "compress", "inspect", "advise"]
)
def test_a_setting_that_is_wrong_is_named(run, model, monkeypatch, command):
    monkeypatch.setenv("CONVPRESS_LEASE_SECONDS", "-1")
    get_settings.cache_clear()
    models = [] if command in ("serve", "worker", "demo") else [model]
    done = run(command, *models)
    get_settings.cache_clear()
    assert done.exit_code == 2
    assert "CONVPRESS_LEASE_SECONDS: " in done.stderr

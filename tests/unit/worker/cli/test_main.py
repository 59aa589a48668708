"""The command line refuses what it could not or should not do before it does anything, by the names
that users know.
"""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.auth import keys
from app.db.session import transaction
from app.settings import get_settings
from worker import offline
from worker.cli import main
from worker.sandbox.messages import Failed
from worker.sandbox.run import Lost, TimedOut

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(ONNX)
    return path


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(main.app, list(map(str, arguments)))


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.setattr(
        offline.sandbox, "run", lambda *_, **__: pytest.fail("the engine was started")
    )


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--flops-budget", "0.5", "--rank", "2"],
        ["--flops-budget", "0.5", "--cost-table", "{folder}/none.json"],
        ["--flops-budget", "0.5", "--output", "{model}"],
        ["--flops-budget", "0.5", "--output", "{folder}/link.onnx"],
        ["--flops-budget", "0.5", "--output", "{folder}"],
        ["--flops-budget", "0.5", "--output", "{folder}/no/such/folder.onnx"],
        ["--flops-budget", "0.5", "--report", "{model}"],
        ["--flops-budget", "0.5", "--report", "{folder}/no/such/report.json"],
        ["--flops-budget", "0.5", "--report", "{folder}/same", "--output", "{folder}/same"],
    ],
)
def test_wrong_usage_is_said_before_any_work(run, model, no_engine, options):
    (model.parent / "link.onnx").hardlink_to(model)
    done = run(
        "compress", model, *(option.format(model=model, folder=model.parent) for option in options)
    )
    assert done.exit_code == 2, done.output
    assert model.read_bytes() == ONNX


def test_a_model_that_is_not_there_is_wrong_usage(run, tmp_path):
    assert run("compress", tmp_path / "none.onnx", "--flops-budget", "0.5").exit_code == 2
    assert run("inspect", tmp_path).exit_code == 2


@pytest.mark.parametrize("command", [["compress", "--flops-budget", "0.5"], ["inspect"]])
def test_what_is_no_model_is_refused_without_an_engine(run, tmp_path, no_engine, command):
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    done = run(*command, path)
    assert done.exit_code == 1
    assert "model_unrecognised" in done.stderr
    assert "expected: an ONNX model" in done.stderr


OUTCOMES = {
    "refused": (
        Failed({"code": "budget_unreachable", "detail": "no\x1b[31m", "got": "0.1"}),
        1,
        "got: 0.1",
    ),
    "lost": (Lost("it was killed by signal 9", "the log"), 3, "signal 9"),
    "timed out": (TimedOut(1.0), 3, "not done"),
}


@pytest.mark.parametrize(("outcome", "status", "text"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_engine_that_ends_badly_leaves_no_file_and_says_why(
    run, model, monkeypatch, outcome, status, text
):
    monkeypatch.setattr(offline.sandbox, "run", lambda *_, **__: outcome)
    done = run("compress", model, "--flops-budget", "0.5")
    assert done.exit_code == status
    assert text in done.stderr
    assert "\x1b[31m" not in done.stderr
    assert list(model.parent.iterdir()) == [model]


@pytest.mark.parametrize("command", ["serve", "worker", "demo"])
def test_a_setting_that_is_wrong_is_named(run, monkeypatch, command):
    monkeypatch.setenv("CONVPRESS_LEASE_SECONDS", "-1")
    get_settings.cache_clear()
    done = run(command)
    get_settings.cache_clear()
    assert done.exit_code == 2
    assert "CONVPRESS_LEASE_SECONDS: " in done.stderr


def test_the_command_starts_without_what_it_does_not_need():
    heavy = {"celery", "fastapi", "sqlalchemy", "httpx"}
    code = f"import sys, worker.cli.main; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "set()"


def test_the_sample_model_of_the_demonstration_is_shipped():
    assert Path("tests/models/residual.onnx").is_file()


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("CONVPRESS_DATABASE_URL", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "data"
    get_settings.cache_clear()


def test_keys_are_made_listed_and_revoked(run, data_dir):
    made = run("keys", "create", "ann", "--scope", "read", "--create")
    assert made.exit_code == 0
    number, secret = made.stdout.strip().removeprefix("cp_").split("_", 1)
    listed = run("keys", "list").stdout
    assert number in listed
    assert "ann" in listed
    assert secret not in listed
    assert run("keys", "revoke", number).exit_code == 0
    assert run("keys", "revoke", number).exit_code == 1
    assert run("keys", "create", "ann", "--scope", "root").exit_code == 2
    assert run("keys", "create", "a b").exit_code == 2


@pytest.mark.parametrize(
    "command", [["create", "ann"], ["list"], ["revoke", "0" * 16]], ids=lambda parts: parts[0]
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


def test_keys_name_their_database_without_its_password(run, data_dir, monkeypatch, postgres_url):
    address = postgres_url.partition("@")[2]
    user = "postgresql+psycopg://postgres"
    url = f"{user}:s3cret@{address}?application_name=h1dden"
    monkeypatch.setenv("CONVPRESS_DATABASE_URL", url)
    get_settings.cache_clear()
    refused = run("keys", "create", "ann")
    assert refused.exit_code == 2
    made = run("keys", "create", "ann", "--create")
    assert made.exit_code == 0, made.output
    assert run("keys", "create", "bob").exit_code == 0
    for done in (refused, made):
        assert f"{user}:***@{address}" in done.stderr
        assert "s3cret" not in done.output
        assert "h1dden" not in done.output
    assert "database" not in made.stdout


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


def test_the_doctor_shows_every_wall(run):
    told = run("doctor")
    assert all(
        wall in told.stdout for wall in ("files", "network", "processes", "memory", "rights")
    )
    assert told.exit_code == ("MISSING" in told.stdout)

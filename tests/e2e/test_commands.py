"""The commands that call the running service, and the codes with which they end."""

import hashlib
import json
import uuid
import zipfile

import onnx
import pytest
from digits import MODELS
from support.service.broken_line import UNAVAILABLE, broken_line
from typer.testing import CliRunner

from convpress import Client
from convpress.text.quantities import percent
from worker.cli import main

MODEL = MODELS / "residual.onnx"


@pytest.fixture
def submit(monkeypatch, service):
    """Run `convpress submit` for this service in this process."""
    monkeypatch.setenv("CONVPRESS_SERVER", str(service.http.base_url))
    return lambda *arguments: CliRunner().invoke(
        main.app, ["submit", *map(str, arguments)]
    )


def test_the_command_line_submits(submit, tmp_path):
    target = tmp_path / "net.onnx"
    report = tmp_path / "report.json"
    asked = (
        MODEL,
        "--flops-budget",
        "0.5",
        "--calibration",
        "none",
        "--label",
        "a=b",
        "--idempotency-key",
        tmp_path.name,
    )
    ended = submit(*asked, "--output", target, "--report", report)
    assert ended.exit_code == 0, ended.output
    assert "MACs" in ended.stdout
    assert "upload" in ended.stderr
    assert json.loads(report.read_text())["after"]["bytes"] == target.stat().st_size
    again = submit(*asked, "--output", tmp_path / "again.onnx", "--json")
    assert again.exit_code == 0
    assert again.stderr == ""
    assert json.loads(again.stdout)["labels"] == {"a": "b"}
    assert (tmp_path / "again.onnx").read_bytes() == target.read_bytes()


@pytest.mark.slow
def test_the_command_line_submits_weights_beside_a_model(submit, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(onnx.load(MODEL), path, save_as_external_data=True, location="net.data")
    ended = submit(path, "--flops-budget", "0.5", "--calibration", "none")
    assert ended.exit_code == 0, ended.output
    with zipfile.ZipFile(tmp_path / "net.convpress.zip") as artifact:
        assert artifact.namelist()[0] == "net.onnx"


@pytest.fixture
def call(monkeypatch, service):
    """Run a command for this service in this process."""
    monkeypatch.setenv("CONVPRESS_SERVER", str(service.http.base_url))
    return lambda *arguments: CliRunner().invoke(main.app, list(map(str, arguments)))


def test_a_job_is_followed_from_the_command_line(call, done, tmp_path):
    assert (
        str(done.id) in call("jobs", "--label", "of=all", "--state", "succeeded").stdout
    )
    listed = json.loads(call("jobs", "--label", "of=all", "--json").stdout)
    assert [job["id"] for job in listed] == [str(done.id)]
    assert call("jobs", "--label", "of=none").stdout == "no job matches\n"
    for command in ("status", "wait"):
        shown = call(command, done.id)
        assert shown.exit_code == 0, shown.output
        assert "succeeded" in shown.stdout
        assert json.loads(call(command, done.id, "--json").stdout)["id"] == str(done.id)
    assert f"{percent(done.result.keep)} kept" in call("status", done.id).stdout
    target = tmp_path / "net.onnx"
    assert call("download", done.id, "--output", target).exit_code == 0
    assert (
        hashlib.sha256(target.read_bytes()).hexdigest() == done.result.artifact.sha256
    )
    assert "risk unknown" in call("report", done.id).stdout
    assert (
        json.loads(call("report", done.id, "--json").stdout)["keep"] == done.result.keep
    )


def test_labels_and_the_note_of_a_job_change_from_the_command_line(call, done):
    ended = call(
        "label", done.id, "team=vision", "run=1", "--note", "the best so far", "--json"
    )
    assert ended.exit_code == 0, ended.output
    job = json.loads(ended.stdout)
    assert job["labels"] == {"of": "all", "team": "vision", "run": "1"}
    assert job["note"] == "the best so far"
    job = json.loads(call("label", done.id, "run-", "team-", "--json").stdout)
    assert (job["labels"], job["note"]) == ({"of": "all"}, "the best so far")
    assert call("label", done.id).exit_code == 2
    assert "no label 'run'" in call("label", done.id, "run-").stderr
    refused = call("label", done.id, "a b=c")
    assert (refused.exit_code, refused.stderr.partition(":")[0]) == (
        1,
        "labels_invalid",
    )


def test_what_cannot_be_done_with_a_job_ends_the_command_by_its_code(
    call, done, tmp_path
):
    finished = call("cancel", done.id)
    assert (finished.exit_code, finished.stderr.partition(":")[0]) == (
        1,
        "job_finished",
    )
    unknown = call("status", uuid.uuid4())
    assert (unknown.exit_code, unknown.stderr.partition(":")[0]) == (1, "job_not_found")
    assert call("status", "17").exit_code == 2
    assert call("jobs", "--state", "lost").exit_code == 2
    assert call("download", done.id, "--output", tmp_path).exit_code == 2


def test_ctrl_c_names_the_command_that_follows_the_job_again(call, done, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", interrupt)
    ended = call("wait", done.id)
    assert ended.exit_code == 130
    assert f"convpress wait {done.id}" in ended.stderr


@pytest.mark.parametrize(
    ("budget", "code"), [("much", "budget_invalid"), ("0.0001", "budget_unreachable")]
)
def test_the_command_line_tells_a_refusal_to_people_and_machines(
    submit, tmp_path, budget, code
):
    ended = submit(
        MODEL,
        "--flops-budget",
        budget,
        "--calibration",
        "none",
        "--output",
        tmp_path / "n",
        "--json",
    )
    assert ended.exit_code == 1, ended.output
    answer = json.loads(ended.stdout)
    assert (answer.get("error") or answer)["code"] == code
    assert ended.stderr.startswith(f"{code}: ")
    assert "  field: flops_budget\n" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_ends_with_a_code_that_says_why(submit, address, monkeypatch):
    with broken_line(address, UNAVAILABLE) as line:
        busy = submit(
            MODEL, "--flops-budget", "0.5", "--server", line.url, "--patience", "0"
        )
    away = submit(
        MODEL,
        "--flops-budget",
        "0.5",
        "--server",
        "http://127.0.0.1:9",
        "--patience",
        "0",
    )
    assert [(each.exit_code, each.stdout) for each in (busy, away)] == [(4, "")] * 2
    assert "does not answer" in away.stderr
    for wrong in (["--server", "nowhere"], ["--label", "a"], ["--output", MODEL]):
        assert submit(MODEL, "--flops-budget", "0.5", *wrong).exit_code == 2

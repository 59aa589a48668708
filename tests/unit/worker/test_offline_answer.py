"""The engine without a service answers on standard output, and logs on standard error."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from digits import MODELS
from support.service import fake_engine

from app.settings import get_settings
from convpress.report import Report
from worker import offline, offline_answer
from worker.sandbox.doctor import SandboxIncomplete

# The doctor warns of root, whoever runs the test; the check itself is another test's.
AS_ROOT = """
import os, runpy, sys
os.geteuid = lambda: 0
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("arguments", "request_json"),
    [
        (
            ["worker.offline_answer"],
            {
                "command": "inspect",
                "model": str(MODELS / "plain.onnx"),
                "input_shape": None,
            },
        ),
        pytest.param(
            ["worker.cli", "inspect", "--json", str(MODELS / "plain.onnx")],
            None,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["library", "command"],
)
def test_a_warning_does_not_get_into_the_answer(arguments, request_json):
    process = subprocess.run(
        [sys.executable, "-c", AS_ROOT, *arguments],
        input=json.dumps(request_json),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)
    assert "runs as root" in process.stderr


def test_a_setting_that_is_wrong_is_named(monkeypatch, capsys):
    monkeypatch.setenv("CONVPRESS_LOG_LEVEL", "loud")
    get_settings.cache_clear()
    offline_answer.main()
    get_settings.cache_clear()
    assert json.loads(capsys.readouterr().out)["lost"].startswith(
        "CONVPRESS_LOG_LEVEL: Input should be"
    )


REQUEST = {
    "command": "compress",
    "model": "/net.onnx",
    "output": "/out.onnx",
    "fields": {"flops_budget": "0.5"},
    "form": None,
    "rank": None,
    "samples": None,
    "evaluation": None,
    "evaluate": None,
    "lower_is_better": False,
    "evaluate_seconds": None,
    "cost_table": None,
    "device": None,
}


@pytest.fixture
def answer(monkeypatch, capsys):
    """Answer a request in this process."""

    def run(**changed):
        request = io.StringIO(json.dumps(REQUEST | changed))
        monkeypatch.setattr(sys, "stdin", request)
        monkeypatch.setattr(offline_answer, "configure_logging", lambda _: None)
        offline_answer.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_the_account_is_the_report(answer, monkeypatch):
    jobs = []

    def compress(model, output, report, job):
        jobs.append((model, output, job))
        return Report.model_validate(fake_engine.REPORT)

    monkeypatch.setattr(offline, "compress", compress)
    account = answer(samples="/s.npz", rank=2, fields={})["account"]
    assert account["sites"][0]["name"] == "conv1"
    [(model, output, job)] = jobs
    assert (model, output) == (Path("/net.onnx"), Path("/out.onnx"))
    assert (job.samples, job.rank, job.cost_table) == (Path("/s.npz"), 2, None)


@pytest.mark.parametrize(
    ("error", "answered"),
    [
        (offline.LostError("it died"), {"lost": "it died"}),
        (SandboxIncomplete("no wall"), {"lost": "no wall"}),
        (
            offline.RefusedError({"code": "model_invalid", "detail": "no"}),
            {"refusal": {"code": "model_invalid", "detail": "no"}},
        ),
    ],
)
def test_an_end_without_an_account_is_an_answer_too(
    answer, monkeypatch, error, answered
):
    def compress(*_):
        raise error

    monkeypatch.setattr(offline, "compress", compress)
    assert answer() == answered


def test_a_wrong_field_is_a_refusal(answer):
    refusal = answer(fields={"flops_budget": "much"})["refusal"]
    assert refusal["code"] == "budget_invalid"

"""Every recipe of the documents does what it says, run as it stands there, on models that need no
calibration.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import pytest
import yaml
from digits import MODELS, accuracy

from convpress import Client, JobFailed
from convpress.client.api import Api

DOCS = Path(__file__).parents[2] / "docs"
MODEL = MODELS / "residual.onnx"


def blocks(name, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL
    )


@pytest.fixture
def address(service, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVPRESS_SERVER", str(service.http.base_url))
    return str(service.http.base_url)


@pytest.fixture(autouse=True)
def uncalibrated(monkeypatch):
    """A tenth of the time for each job."""
    monkeypatch.setattr(Api, "submit", partialmethod(Api.submit, calibration="none"))


@pytest.fixture
def step(address, tmp_path):
    """Run the CI step as a runner does, with `convpress` on its path."""
    [script] = blocks("recipes.md", "sh")
    (tmp_path / "compress.sh").write_text(script)
    command = tmp_path / "bin" / "convpress"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m worker.cli "$@" --calibration none\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(DOCS.parent),
    }

    def run(*arguments, **changes):
        return subprocess.run(
            ["sh", "compress.sh", *map(str, arguments)],
            env=environment | changes,
            capture_output=True,
            text=True,
        )

    return run


def test_the_ci_step_compresses_once_for_each_release(step, tmp_path):
    jobs = []
    for _ in range(2):
        done = step(MODEL, "v1.2.3")
        assert done.returncode == 0, done.stderr
        jobs.append(json.loads((tmp_path / "job.json").read_text()))
    assert jobs[0]["id"] == jobs[1]["id"]
    assert jobs[0]["labels"] == {"release": "v1.2.3"}
    assert accuracy(tmp_path / "model.convpress.onnx") >= accuracy(MODEL) - 0.015
    assert json.loads((tmp_path / "report.json").read_text())["keep"] <= 0.5


def test_the_ci_step_tells_what_may_be_repeated_from_what_may_not(step, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    assert step(broken, "v1").returncode == 1
    [script] = blocks("recipes.md", "sh")
    (tmp_path / "compress.sh").write_text(script.replace("--json", "--json --patience 0"))
    assert step(MODEL, "v1", CONVPRESS_SERVER="http://127.0.0.1:9").returncode == 75


def test_the_ci_workflow_runs_the_step_with_what_it_needs():
    [workflow] = map(yaml.safe_load, blocks("recipes.md", "yaml"))
    job = workflow["jobs"]["compress"]
    assert set(job["env"]) == {"CONVPRESS_SERVER", "CONVPRESS_KEY"}
    assert [each["run"].split()[:3] for each in job["steps"] if "run" in each] == [
        ["sh", "compress.sh", "model.onnx"]
    ]


def recipe(name):
    """The Python recipe that defines a function, run as a module."""
    [code] = [code for code in blocks("recipes.md", "python") if f"def {name}(" in code]
    module = {}
    exec(compile(code, "recipes.md", "exec"), module)
    return module[name]


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_artifact_and_report(address, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its databases take ten seconds to make
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    compress_and_log = recipe("compress_and_log")
    run_id = compress_and_log(MODEL, "0.5")
    run = mlflow.get_run(run_id)
    assert run.data.metrics["flops_after"] <= 0.5 * run.data.metrics["flops_before"]
    assert run.data.params["flops_budget"] == "0.5"
    with Client(address) as client:
        assert [str(job.id) for job in client.list(labels={"mlflow_run": run_id})] == [
            run.data.tags["convpress.job"]
        ]
    names = {item.path for item in mlflow.artifacts.list_artifacts(run_id=run_id)}
    assert names == {"report.json", "residual.convpress.onnx"}
    with pytest.raises(JobFailed):
        compress_and_log(MODEL, "0.0001")
    assert mlflow.last_active_run().info.status == "FAILED"


def test_the_pipeline_finds_the_cheapest_within_an_error(address, tmp_path, capsys):
    broken = tmp_path / "needs_shape.pt"
    shutil.copy(MODELS / "plain.traced.pt", broken)
    kept = asyncio.run(recipe("compress_all")([MODEL, broken], 0.1, tmp_path))
    assert set(kept) == {"residual.onnx"}
    assert all(0.05 < share < 1 for share in kept.values())
    assert (tmp_path / "residual.convpress.onnx").exists()
    assert capsys.readouterr().out.startswith("needs_shape.pt: input_shape_required")


def test_the_first_lines_of_the_clients_document_work(address, tmp_path):
    shutil.copy(MODEL, tmp_path / "net.onnx")
    on_this_machine, by_a_service = blocks("client.md", "python")
    quick = on_this_machine.replace("flops_budget=0.5", 'flops_budget=0.5, calibration="none"')
    assert quick != on_this_machine
    exec(compile(quick, "client.md", "exec"), {})
    assert (tmp_path / "net.half.onnx").stat().st_size < MODEL.stat().st_size
    code = by_a_service.replace("http://127.0.0.1:8000", address)
    exec(compile(code, "client.md", "exec"), {})
    assert (tmp_path / "net.convpress.onnx").stat().st_size < MODEL.stat().st_size

"""Every recipe of the documents does what it says, run as it stands there, on models that need no
calibration, or few samples.
"""

import asyncio
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from digits import MODELS, accuracy, split
from packaging.requirements import Requirement

import convpress
from convpress import Client, JobFailed
from convpress.client.api import Api

DOCS = Path(__file__).parents[2] / "docs"
MODEL = MODELS / "residual.onnx"


def blocks(name, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```",
        (DOCS / name).read_text(),
        re.MULTILINE | re.DOTALL,
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
    (training, _), _ = split()
    np.savez(tmp_path / "samples.npz", image=training[:24])
    # Few samples make the risk known, in a fraction of the time of a calibration without any.
    command.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m worker.cli "$@" '
        "--calibration ${CALIBRATION:-samples --samples samples.npz}\n"
    )
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_ci_step_lets_no_unknown_risk_pass(step, tmp_path):
    done = step(MODEL, "v2", CALIBRATION="none")
    assert done.returncode == 1
    assert "risk of the compressed model is unknown" in done.stderr


@pytest.mark.slow
def test_the_ci_step_tells_what_may_be_repeated_from_what_may_not(step, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_text("no model")
    assert step(broken, "v1").returncode == 1
    [script] = blocks("recipes.md", "sh")
    (tmp_path / "compress.sh").write_text(
        script.replace("--json", "--json --patience 0")
    )
    assert step(MODEL, "v1", CONVPRESS_SERVER="http://127.0.0.1:9").returncode == 75


def yaml_with(member):
    documents = map(yaml.safe_load, blocks("recipes.md", "yaml"))
    [document] = [document for document in documents if member in document]
    return document


def test_the_workflow_of_github_installs_the_client_and_runs_the_step():
    job = yaml_with("jobs")["jobs"]["compress"]
    assert set(job["env"]) == {"CONVPRESS_SERVER", "CONVPRESS_KEY"}
    commands = [each["run"].split()[:3] for each in job["steps"] if "run" in each]
    version = importlib.metadata.version("convpress")
    assert commands[0][:2] == ["pip", "install"]
    assert Requirement(commands[0][2].strip('"')).specifier.contains(version)
    assert commands[1] == ["sh", "compress.sh", "model.onnx"]


def test_the_job_of_gitlab_installs_the_client_and_runs_the_step():
    job = yaml_with("compress")["compress"]
    assert set(job["variables"]) == {"CONVPRESS_SERVER"}
    install, run = job["script"]
    assert install.startswith("pip install ")
    assert run.startswith("sh compress.sh model.onnx ")
    assert job["retry"]["exit_codes"] == 75
    assert job["artifacts"]["paths"] == ["model.convpress.onnx", "report.json"]


def test_kserve_serves_the_repository_of_triton():
    service = yaml_with("kind")
    assert service["kind"] == "InferenceService"
    assert service["spec"]["predictor"]["model"]["runtime"] == "kserve-tritonserver"


def recipe(name):
    """The Python recipe that defines a function, run as a module."""
    [code] = [code for code in blocks("recipes.md", "python") if f"def {name}(" in code]
    module = {}
    exec(compile(code, "recipes.md", "exec"), module)
    return module[name]


@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.slow
def test_mlflow_has_artifact_and_report(address, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # its databases take ten seconds to make
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


@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.slow
def test_the_registry_has_a_version_and_no_candidate_of_unknown_risk(
    address, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    register = recipe("register")
    client = mlflow.MlflowClient()
    risks = {}
    for risk in ("unknown", "low"):
        with mlflow.start_run() as run:
            mlflow.set_tags({"convpress.risk": risk, "convpress.job": "7"})
            mlflow.log_dict({}, "report.json")
            mlflow.log_artifact(str(MODEL))
        risks[register(run.info.run_id, "digits")] = risk
        aliases = client.get_registered_model("digits").aliases
        assert [risks[str(version)] for version in aliases.values()] == ["low"] * (
            risk == "low"
        )
    [latest] = client.search_model_versions("name = 'digits'", max_results=1)
    assert latest.tags == {"convpress.risk": "low", "convpress.job": "7"}
    assert latest.source.endswith("residual.onnx")


def test_triton_gets_a_repository(tmp_path):
    report = {
        "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 1, 16, 16]}]
    }
    folder = recipe("write_repository")(MODEL, report, tmp_path, "digits")
    assert (folder / "1" / "model.onnx").read_bytes() == MODEL.read_bytes()
    config = (folder / "config.pbtxt").read_text()
    assert 'name: "image"' in config
    assert "dims: [-1, 1, 16, 16]" in config
    assert config.count("{") == config.count("}") == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's and ONNX Runtime's own
def test_a_compressed_model_is_tuned_and_quantised(tmp_path):
    (training, _), _ = split()
    original = MODELS / "plain.traced.pt"
    convpress.compress(
        original,
        flops_budget=0.4,
        calibration="none",
        input_shape="1x1x16x16",
        output=tmp_path / "artifact.pt",
    )
    batches = [
        torch.from_numpy(training[start : start + 64]) for start in range(0, 1280, 64)
    ] * 3
    losses = recipe("fine_tune")(
        original, tmp_path / "artifact.pt", batches, tmp_path / "tuned.pt"
    )
    assert losses[-1] < losses[0]
    # three epochs gain little on what has lost little; an image is 0.002
    assert accuracy(tmp_path / "tuned.pt") >= accuracy(tmp_path / "artifact.pt") - 0.01

    factored = tmp_path / "artifact.onnx"
    convpress.compress(MODEL, flops_budget=0.6, calibration="none", output=factored)
    quantised = tmp_path / "int8.onnx"
    recipe("quantise")(factored, "image", training[:64], quantised)
    assert quantised.stat().st_size < factored.stat().st_size
    assert accuracy(quantised) >= accuracy(factored) - 0.03


@pytest.mark.slow
def test_the_pipeline_finds_the_cheapest_within_an_error(address, tmp_path, capsys):
    broken = tmp_path / "needs_shape.pt"
    shutil.copy(MODELS / "plain.traced.pt", broken)
    no_model = tmp_path / "text.onnx"
    no_model.write_text("no model")
    kept = asyncio.run(recipe("compress_all")([MODEL, broken, no_model], 0.1, tmp_path))
    assert set(kept) == {"residual.onnx"}
    assert all(0.05 < share < 1 for share in kept.values())
    assert (tmp_path / "residual.convpress.onnx").exists()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["needs_shape.pt", "text.onnx"]
    assert "input_shape_required" in printed[0]


def test_the_first_lines_of_the_clients_document_work(address, tmp_path):
    shutil.copy(MODEL, tmp_path / "net.onnx")
    on_this_machine, _, by_a_service = blocks("client.md", "python")
    quick = on_this_machine.replace(
        "flops_budget=0.5", 'flops_budget=0.5, calibration="none"'
    )
    assert quick != on_this_machine
    exec(compile(quick, "client.md", "exec"), {})
    assert (tmp_path / "net.half.onnx").stat().st_size < MODEL.stat().st_size
    code = by_a_service.replace("http://127.0.0.1:8000", address)
    exec(compile(code, "client.md", "exec"), {})
    assert (tmp_path / "net.convpress.onnx").stat().st_size < MODEL.stat().st_size


@pytest.mark.slow
def test_the_clients_document_keeps_a_promise_by_a_command(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODEL, tmp_path / "net.onnx")
    score = f"""
import sys
sys.path[:0] = {[str(MODEL.parent)]!r}
from pathlib import Path
from digits import accuracy
print(accuracy(Path(sys.argv[1])))
"""
    (tmp_path / "score.py").write_text(score)
    _, promise, _ = blocks("client.md", "python")
    quick = promise.replace("python score.py", f"{sys.executable} score.py")
    quick = quick.replace('max_loss="1%"', 'max_loss="1%", calibration="none"')
    assert quick.count(sys.executable) == quick.count("none") == 1
    exec(compile(quick, "client.md", "exec"), {"convpress": convpress})
    before, after = map(float, capsys.readouterr().out.splitlines()[0].split())
    assert before == pytest.approx(accuracy(MODEL))
    assert before - after <= 0.01


@pytest.mark.parametrize(
    "name", ["../README.md", pytest.param("quickstart.md", marks=pytest.mark.slow)]
)
def test_the_first_commands_work_when_pasted(address, tmp_path, name):
    [script] = [
        code
        for code in re.findall(
            r"^ *```sh\n(.*?)^ *```",
            (DOCS / name).read_text(),
            re.MULTILINE | re.DOTALL,
        )
        if "curl" in code
    ]
    (tmp_path / "tests").symlink_to(DOCS.parent / "tests")
    script = script.replace("http://127.0.0.1:8000", address)
    quick = script.replace(
        "-F flops_budget=0.5", "-F flops_budget=0.5 -F calibration=none"
    )
    assert quick != script
    done = subprocess.run(["sh", "-e"], input=quick, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert accuracy(tmp_path / "residual.convpress.onnx") > 0.5

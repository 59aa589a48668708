"""The main job, end to end: real models through the running service, and real processes that get
killed.

`make test` has a job of each format, each way to give inputs, a killed child, and both kinds of
servers; `make slow` has the rest.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from digits import MODELS, accuracy, split
from support.service.running_service import ENGINE, is_dead, serving, wait_for

from worker.engine.decompose import FORMS

# One model a format; the others are left to `make slow`.
FILES = [
    pytest.param("residual.onnx", {}, id="residual.onnx"),
    pytest.param(
        "batchnorm_bn.onnx", {}, id="batchnorm_bn.onnx", marks=pytest.mark.slow
    ),
    pytest.param("plain.traced.pt", {"input_shape": "1x1x16x16"}, id="plain.traced.pt"),
    pytest.param(
        "residual.scripted.pt",
        {"input_shape": "1x1x16x16"},
        id="residual.scripted.pt",
        marks=pytest.mark.slow,
    ),
    pytest.param("residual.pt2", {}, id="residual.pt2", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "fields"), FILES)
def test_a_model_comes_back_smaller_and_as_good(service, tmp_path, name, fields):
    job = service.wait(service.post(name, **fields)["id"])
    assert job["state"] == "succeeded"
    assert job["progress"] == 1
    assert job["error"] is None
    result = job["result"]
    assert result["keep"] == result["macs_after"] / result["macs_before"] <= 0.5
    content = service.http.get(result["artifact"]["href"]).content
    assert hashlib.sha256(content).hexdigest() == result["artifact"]["sha256"]
    assert len(content) == result["artifact"]["bytes"]
    path = tmp_path / f"artifact{Path(name).suffix}"
    path.write_bytes(content)
    assert accuracy(path) >= accuracy(MODELS / name) - 0.015
    report = service.http.get(f"/jobs/{job['id']}/report").json()
    assert (
        report["after"]["macs"]
        == result["macs_after"]
        == sum(site["macs_after"] for site in report["sites"])
    )
    assert report["after"]["bytes"] == len(content)
    assert report["timing"]["before"]["processor"]["median_ms"] > 0
    assert report["timing"]["after"]["processor"]["median_ms"] > 0


def test_headers_without_end_are_cut_off(service):
    address = service.http.base_url.host, service.http.base_url.port
    with (
        socket.create_connection(address) as connection,
        pytest.raises(ConnectionError),
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 64 * 1024**2)


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("residual.onnx", {"flops_budget": "0.001"}, "budget_unreachable"),
        pytest.param(
            "residual.onnx",
            {"input_shape": "1x3x16x16"},
            "input_shape_mismatch",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "plain.traced.pt",
            {"input_shape": "1x3x16x16"},
            "input_shape_mismatch",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_the_engine_refuses_fails_its_job_with_the_reason(
    service, name, fields, code
):
    job = service.wait(service.post(name, **fields)["id"])
    assert job["state"] == "failed"
    assert job["error"]["code"] == code
    assert job["result"] is None
    assert job["error"]["detail"]
    assert job["error"]["field"] in ("flops_budget", "input_shape")
    assert job["error"]["got"]


def test_real_samples_are_calibrated_on(service, tmp_path):
    np.save(tmp_path / "samples.npy", split()[0][0][:24].reshape(-1, 1, 16, 16))
    with (
        (tmp_path / "samples.npy").open("rb") as samples,
        (MODELS / "plain.onnx").open("rb") as model,
    ):
        files = {"samples": ("samples.npy", samples), "model": ("plain.onnx", model)}
        job = service.http.post(
            "/jobs", data={"flops_budget": "0.4"}, files=files
        ).json()
    assert job["calibration"] == "samples"
    assert service.wait(job["id"])["state"] == "succeeded"
    calibration = service.http.get(f"/jobs/{job['id']}/report").json()["calibration"]
    assert calibration["kind"] == "samples"
    assert calibration["images"] == 20
    assert calibration["held_out_samples"] == 4


@pytest.mark.slow
def test_samples_that_do_not_fit_the_model_fail_their_job(service, tmp_path):
    np.save(tmp_path / "samples.npy", split()[0][0][:24].reshape(-1, 16, 16))
    with (
        (tmp_path / "samples.npy").open("rb") as samples,
        (MODELS / "plain.onnx").open("rb") as model,
    ):
        files = {"samples": ("samples.npy", samples), "model": ("plain.onnx", model)}
        job = service.wait(
            service.http.post(
                "/jobs", data={"flops_budget": "0.4"}, files=files
            ).json()["id"]
        )
    assert job["state"] == "failed"
    assert job["error"]["code"] == "samples_invalid"
    assert job["error"]["field"] == "samples"
    assert job["error"]["got"] == "24x16x16"


def test_nothing_is_left_of_a_job_but_its_files(service):
    def left_over():
        folders = ("scratch", "storage/staging")
        files = [
            path for each in folders for path in (service.data_dir / each).iterdir()
        ]
        return files + service.children(ENGINE)

    service.wait(service.post()["id"])
    # A job of another test may still be at work.
    wait_for(lambda: left_over() == [], "all of the job to go")


def test_a_killed_child_fails_nothing_and_the_job_is_done_by_the_next(service):
    job, engine = service.post_and_catch()
    engine.kill()
    assert service.wait(job["id"])["state"] == "succeeded"


@pytest.mark.slow
def test_a_spare_child_takes_the_job_and_another_follows(service, tmp_path):
    cold = service.wait(service.post()["id"])
    with serving(tmp_path / "data", spare_child="true") as warm:
        [first] = wait_for(lambda: warm.children(ENGINE), "the spare child")
        job = warm.wait(warm.post()["id"])
        wait_for(lambda: not first.is_running(), "the spare to end with its job")
        [second] = wait_for(lambda: warm.children(ENGINE), "another spare child")
        second.kill()
        assert warm.wait(warm.post()["id"])["state"] == "succeeded"
    assert job["state"] == "succeeded"
    # The walls and the start of a child leave the artifact as it is.
    assert job["result"]["artifact"]["sha256"] == cold["result"]["artifact"]["sha256"]


@pytest.mark.slow
def test_a_child_killed_three_times_fails_its_own_job_alone(service):
    """A job that has to load torch takes long enough to be killed in time."""
    job = service.post("residual.scripted.pt", input_shape="1x1x16x16")
    other = service.post()
    killed: set[int] = set()
    while len(killed) < 3:
        [child] = wait_for(
            lambda: [c for c in service.children(ENGINE) if c.pid not in killed],
            "a child",
        )
        if service.stop(child, job["id"]):
            child.kill()
            killed.add(child.pid)
    lost = service.wait(job["id"])
    assert lost["state"] == "failed"
    assert lost["error"]["code"] == "worker_lost"
    assert service.wait(other["id"])["state"] == "succeeded"


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_is_done_once(service):
    job, engine = service.post_and_catch()
    [worker] = [
        child
        for child in service.children("worker.cli")
        if child.pid != service.process.pid
    ]
    worker.kill()
    wait_for(
        lambda: is_dead(engine),
        "the engine to die too",
    )
    service.end_lease(job["id"])
    assert service.wait(job["id"])["state"] == "succeeded"


@pytest.mark.slow
def test_a_killed_service_leaves_no_orphan_and_goes_on_where_it_was(tmp_path):
    data_dir = tmp_path / "data"
    with serving(data_dir) as service:
        job, _ = service.post_and_catch()
        family = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        wait_for(
            lambda: not any(child.is_running() for child in family),
            "all its processes to die",
        )
        service.end_lease(job["id"])
    with serving(data_dir) as service:
        assert service.wait(job["id"])["state"] == "succeeded"


def test_postgresql_and_redis_by_settings_alone(tmp_path, postgres_url, redis_url):
    with serving(
        tmp_path / "data", database_url=postgres_url, broker_url=redis_url
    ) as service:
        assert service.wait(service.post()["id"])["state"] == "succeeded"
    assert not (tmp_path / "data" / "convpress.db").exists()


@pytest.mark.slow
def test_the_demonstration_leads_through_a_job_and_serves_on(tmp_path):
    model = MODELS / "plain.onnx"
    with serving(tmp_path / "data", ("demo", str(model))) as service:
        log = tmp_path / "data" / "service.log"

        def ended():
            text = log.read_text()
            return text if "The service keeps running" in text else ""

        shown = wait_for(ended, "the demonstration's end", 600)
        assert service.http.get("/healthz").status_code == 200
        [artifact] = (tmp_path / "data").glob("*.convpress.onnx")
        assert accuracy(artifact) >= accuracy(model) - 0.015
    for text in (
        "/2/Conv",
        "spatial",
        "FLOPs",
        f"curl -s -F model=@{model}",
        "/dashboard/jobs/",
        f"{100 * accuracy(model):.2f} %",
        f"{100 * accuracy(artifact):.2f} %",
    ):
        assert text in shown
    steps = [shown.index(f"\n{step}. ") for step in range(1, 6)]
    assert steps == sorted(steps)


def test_a_port_in_use_is_said_and_nothing_is_started(service, tmp_path):
    environment = {
        "CONVPRESS_PORT": str(service.http.base_url.port),
        "CONVPRESS_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "CONVPRESS_PORT" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_the_command_line_compresses_and_explains(tmp_path):
    model = tmp_path / "net.onnx"
    shutil.copy(MODELS / "residual.onnx", model)
    run = lambda *arguments: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "worker.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
    )
    budget = ("--flops-budget", "0.5")
    done = run("compress", str(model), *budget, "--calibration", "none")
    assert done.returncode == 0, done.stderr
    assert accuracy(tmp_path / "net.convpress.onnx") >= accuracy(model) - 0.015
    assert any(form in done.stdout for form in FORMS)
    np.savez(tmp_path / "samples.npz", image=split()[0][0][:24].reshape(-1, 1, 16, 16))
    shutil.copy(MODELS / "plain.onnx", tmp_path / "plain.onnx")
    samples = ("--samples", str(tmp_path / "samples.npz"), "--input-range", "0,1")
    sampled = run(
        "compress",
        str(tmp_path / "plain.onnx"),
        *budget,
        *samples,
        "--report",
        str(tmp_path / "report.json"),
    )
    assert sampled.returncode == 0, sampled.stderr
    calibration = json.loads((tmp_path / "report.json").read_text())["calibration"]
    assert calibration["kind"] == "samples"
    assert calibration["ranges"] == ["0 to 1"]
    unnamed = run("compress", str(model), *budget, "--samples", str(model))
    assert (unnamed.returncode, "samples_invalid" in unnamed.stderr) == (1, True)
    refused = run(
        "compress",
        str(model),
        "--flops-budget",
        "0.001",
        "--calibration",
        "none",
        "--output",
        str(tmp_path / "no.onnx"),
    )
    assert refused.returncode == 1
    assert "budget_unreachable" in refused.stderr
    assert not (tmp_path / "no.onnx").exists()
    inspected = run("inspect", str(model), "--json")
    assert '"macs": 7102944' in inspected.stdout

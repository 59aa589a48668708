"""Hostile uploads fail as jobs of their own; the service goes on for those who hold a key, and
nothing is left.
"""

import os
import subprocess
import sys

import psutil
import pytest
from corpus import corpus
from support.service.running_service import ENGINE, command_of, serving, wait_for

from worker.sandbox import launcher

NAMES = (
    "torchscript: setstate-saves-a-file",
    "torchscript: forward-calls-itself",
    "torchscript: tensor-behind-its-storage",
    "onnx: weights-in-a-path-upwards",
    "onnx: network-that-fills-all-memory",
)


# `make hostile` sends every hostile file to a service.
@pytest.mark.slow
@pytest.mark.skipif(
    launcher.landlock_version() < 3 or launcher.load_libseccomp() is None,
    reason="needs Landlock and seccomp",
)
def test_the_service_outlives_hostile_models(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    data = tmp_path / "data"
    environment = {**os.environ, "CONVPRESS_DATA_DIR": str(data)}
    command = [sys.executable, "-m", "worker.cli", "keys", "create", "ann", "--create"]
    token = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    files = {file.title: file for file in corpus(outside)}
    with serving(
        data,
        api_keys="true",
        job_memory_bytes=str(3 * 1024**3),
        job_timeout_seconds="120",
        owner_requests_per_minute="100000",
    ) as service:
        assert service.http.get("/jobs").status_code == 401
        service.http.headers["Authorization"] = f"Bearer {token}"
        for name in NAMES:
            form = {"data": {"flops_budget": "0.5", "input_shape": "1x1x8x8"}}
            posted = service.http.post(
                "/jobs", files={"model": ("model", files[name].content)}, **form
            )
            job = (
                service.wait(posted.json()["id"])
                if posted.status_code == 202
                else {"state": "failed", "error": posted.json()}
            )
            assert job["state"] == "failed", name
            assert job["error"]["code"]
        honest = service.wait(service.post()["id"])
        assert honest["state"] == "succeeded"
        assert honest["error"] is None
        wait_for(lambda: not service.children(ENGINE), "the last child to end")
        assert list((data / "scratch").iterdir()) == []
        keepers = [
            child
            for child in psutil.Process(service.process.pid).children(recursive=True)
            if launcher.__file__ in command_of(child)
        ]
        assert keepers == []
    assert [path.name for path in outside.iterdir()] == ["secret"]
    # The last letters are of the secret; its first ones may be the id of the key.
    assert token[-20:] not in (data / "service.log").read_text()

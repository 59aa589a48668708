"""The description that a confinement gives to the launcher, and the child's environment."""

import json
import os
import sys
from pathlib import Path

import pytest

from worker.sandbox.policy import Confinement

HOME = Path("/scratch/work")


def described(confinement, seconds=10.0):
    command = confinement.command(["engine", "argument"], seconds)
    assert command[-2:] == ["engine", "argument"]
    assert command[-4] == str(os.getpid())
    return json.loads(command[-3])


def test_a_child_writes_to_its_home_and_reads_the_installation_and_its_inputs():
    confinement = Confinement(
        HOME, writable=(Path("/output"),), readable=(Path("/model"),)
    )
    description = described(confinement)
    assert description["writable"] == [str(HOME), "/output", "/dev/null"]
    assert "/model" in description["readable"]
    assert str(Path(sys.prefix, "lib")) in description["readable"]
    project = str(Path(__file__).parents[4])
    assert project not in description["readable"]


def test_processor_time_grows_with_the_threads():
    one = described(Confinement(HOME))["limits"]["CPU"]
    four = described(Confinement(HOME, threads=4))["limits"]["CPU"]
    assert four - one == 3 * 10


@pytest.mark.parametrize(
    ("device", "limited", "unlimited"), [("cpu", "AS", "DATA"), ("cuda", "DATA", "AS")]
)
def test_memory_is_bounded_where_the_device_allows_it(device, limited, unlimited):
    description = described(Confinement(HOME, memory_bytes=7, device=device))
    assert description["limits"][limited] == 7
    assert unlimited not in description["limits"]
    assert ("/proc/devices" in description["readable"]) == (device == "cuda")


def test_without_seccomp_no_call_is_refused():
    assert described(Confinement(HOME, seccomp=False))["calls"] == []
    assert described(Confinement(HOME))["calls"]


def test_the_environment_has_nothing_of_the_workers(monkeypatch):
    monkeypatch.setenv("CONVPRESS_WEBHOOK_SECRET", "secret")
    environment = Confinement(HOME).environment()
    assert "secret" not in environment.values()
    assert environment["TMPDIR"] == environment["HOME"] == str(HOME)


def test_onnx_runtime_sends_no_telemetry():
    assert Confinement(HOME).environment()["ORT_DISABLE_TELEMETRY"] == "1"

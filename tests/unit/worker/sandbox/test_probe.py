"""The probe tests each promise, with every mechanism on and off."""

import json
import os
import subprocess
import sys
from dataclasses import replace

from support.sandboxing import SUCCEEDED, needs_landlock, needs_seccomp

from worker.sandbox import probe
from worker.sandbox.messages import Succeeded


def escapes(confinement, tmp_path):
    """The promises that the probe can break."""
    targets = {
        "secret": str(tmp_path / "secret"),
        "upload": str(tmp_path / "secret"),
        "port": 9,
        "worker": os.getpid(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "memory": 4 * 1024**3,
        "shared_too": confinement.device == "cpu",
        "proc_too": confinement.device == "cpu",
    }
    command = confinement.command(
        [sys.executable, "-I", "-S", probe.__file__, json.dumps(targets)], 10
    )
    done = subprocess.run(
        command, cwd=confinement.home, capture_output=True, check=False, env={}
    )
    return {name for name, successes in json.loads(done.stdout).items() if successes}


@needs_landlock
@needs_seccomp
def test_each_mechanism_alone_keeps_its_promises_and_the_probe_sees_which_is_off(
    shut_in, tmp_path
):
    assert escapes(shut_in, tmp_path) == set()
    without_seccomp = {"files", "network", "processes", "memory"}
    assert escapes(replace(shut_in, seccomp=False), tmp_path) == without_seccomp
    assert escapes(replace(shut_in, landlock=0), tmp_path) == {"files"}
    for version in range(3, 7):  # as on kernels since 6.2
        assert escapes(replace(shut_in, landlock=version), tmp_path) == set()
    assert escapes(replace(shut_in, memory_bytes=16 * 1024**3), tmp_path) == {"memory"}
    assert escapes(replace(shut_in, landlock=0, seccomp=False), tmp_path) >= {
        "files",
        "network",
        "processes",
    }


@needs_landlock
@needs_seccomp
def test_a_sandbox_for_a_gpu_opens_its_driver_and_nothing_else(run, shut_in, tmp_path):
    opened = replace(shut_in, device="cuda")
    closed = json.loads(shut_in.command([], 1)[-1])
    described = json.loads(opened.command([], 1)[-1])
    assert closed["devices"] == []
    assert closed["limits"]["AS"] == 2 * 1024**3
    assert all(path.startswith("/dev/nvidia") for path in described["devices"])
    assert described["limits"] == {
        name: most for name, most in closed["limits"].items() if name != "AS"
    } | {"DATA": 2 * 1024**3}
    assert escapes(opened, tmp_path) == set()
    device = run(
        opened,
        f"""

        try:
            os.open("/dev/zero", os.O_RDWR)
        except PermissionError:
            {SUCCEEDED}
    """,
    )
    assert device == Succeeded()

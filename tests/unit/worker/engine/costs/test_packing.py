"""The collector in one file, which runs without the product."""

import os
import subprocess
import sys
from pathlib import Path

from worker.engine.costs.packing import pack

# The file is run where no import finds the product or a library of models.
ALONE = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in {"onnx", "torch", "scipy", "convpress", "app", "pydantic"}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_packed_file_runs_without_the_product(tmp_path):
    path = tmp_path / "collect.pyz"
    pack(path)
    first = path.read_bytes()
    command = [sys.executable, "-P", "-c", ALONE, str(path), "--help"]
    environment = os.environ | {"HOME": str(tmp_path / "home")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Measure the cost table of ONNX Runtime on this device" in done.stdout
    # the runtime's telemetry would have noted the device there
    assert not (tmp_path / "home").exists()
    pack(path)
    assert path.read_bytes() == first
    assert Path(path).stat().st_mode & 0o111


def test_the_packed_file_names_what_the_device_lacks(tmp_path):
    path = tmp_path / "collect.pyz"
    pack(path)
    # -S: without the installed packages
    command = [sys.executable, "-P", "-S", str(path), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("this needs numpy, onnxruntime: pip install onnxruntime\n")

"""The collector: it measures with ONNX Runtime and numpy alone, also from one file."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from worker.engine.costs import collector
from worker.engine.costs.packing import pack
from worker.engine.costs.plans import PLANS
from worker.engine.costs.table_file import read

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


@pytest.fixture
def small(monkeypatch):
    plan = PLANS["1x1"]
    small = replace(
        plan, inputs=plan.inputs[:2], outputs=plan.outputs[:2], sides=plan.sides[:2]
    )
    monkeypatch.setattr(collector, "PLANS", {"1x1": small})


def test_a_collected_table_is_one_that_jobs_take(small, tmp_path):
    path = tmp_path / "onnx.json"
    collector.main(["--output", str(path), "--rounds", "1"])
    table = read(path, "onnx")
    assert table.grids.keys() == {"1x1", "added 1x1"}
    assert table.runtime.startswith("onnxruntime ")
    assert table.block in (8, 16)
    assert [each.name for each in tmp_path.iterdir()] == ["onnx.json"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--rounds", "0"], "--rounds is at least 1, not 0"),
        (
            ["--output", "none/table.json"],
            "the folder of none/table.json does not exist",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(arguments, reason, capsys):
    with pytest.raises(SystemExit, match="2"):
        collector.main(arguments)
    assert reason in capsys.readouterr().err


def test_the_packed_file_runs_without_the_product(tmp_path):
    path = tmp_path / "collect.pyz"
    pack(path)
    first = path.read_bytes()
    command = [sys.executable, "-P", "-c", ALONE, str(path), "--help"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Measure the cost table of ONNX Runtime on this device" in done.stdout
    pack(path)
    assert path.read_bytes() == first
    assert Path(path).stat().st_mode & 0o111

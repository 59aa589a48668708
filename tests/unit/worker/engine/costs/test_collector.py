"""The collector: it measures with ONNX Runtime and numpy alone."""

from dataclasses import replace

import pytest

from worker.engine.costs import cold_weights, collector
from worker.engine.costs.plans import PLANS
from worker.engine.costs.table_file import read


@pytest.fixture
def small(monkeypatch):
    plan = PLANS["1x1"]
    small = replace(
        plan, inputs=plan.inputs[:2], outputs=plan.outputs[:2], sides=plan.sides[:2]
    )
    monkeypatch.setattr(cold_weights, "LONG", 3)
    monkeypatch.setattr(collector, "PLANS", {"1x1": small})


def test_a_collected_table_is_one_that_jobs_take(small, tmp_path):
    path = tmp_path / "onnx.json"
    collector.main(["--output", str(path), "--rounds", "1"])
    table = read(path, "onnx")
    assert table.grids.keys() == {"1x1", "added 1x1"}
    assert table.runtime.startswith("onnxruntime ")
    assert table.block in (8, 16)
    assert table.cold_ns_per_byte >= 0
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

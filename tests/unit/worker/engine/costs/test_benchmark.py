"""The benchmark times every kind of layer on both runtimes."""

from dataclasses import replace

import pytest

from worker.engine.costs import benchmark, cold_weights
from worker.engine.costs.benchmark import measure
from worker.engine.costs.kinds import CONVERSION
from worker.engine.costs.plans import PLANS, added_plans, int8_plans
from worker.engine.costs.table_file import read


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One point an axis, the smallest."""
    monkeypatch.chdir(tmp_path)  # where the profiler writes
    plans = {
        kind: replace(
            plan,
            inputs=plan.inputs[:1],
            outputs=plan.outputs[-1:],
            sides=plan.sides[:1],
        )
        for kind, plan in PLANS.items()
    }
    monkeypatch.setattr(cold_weights, "LONG", 3)
    monkeypatch.setattr(benchmark, "PLANS", plans)
    return tmp_path


@pytest.mark.parametrize("model_format", ["onnx", "torchscript"])
def test_a_measured_table_has_a_time_for_every_kind(small, model_format):
    steps = []
    table = measure(model_format, lambda done, of: steps.append(done / of))
    assert steps == sorted(steps)
    kinds = set(PLANS)
    if model_format == "onnx":
        kinds |= {*int8_plans(PLANS), *added_plans(PLANS), CONVERSION}
        assert {"int8 3x3", "int8 1x1", "int8 linear"} < kinds
    assert {
        kind for kind, grid in table.grids.items() if grid.rate(8, 8, 4) > 0
    } == kinds
    table.write(small / "costs.json")
    assert read(small / "costs.json", model_format) == table
    assert [path.name for path in small.iterdir()] == ["costs.json"]

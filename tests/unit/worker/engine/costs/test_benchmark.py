"""The benchmark times every kind of layer on both runtimes."""

from dataclasses import replace

import pytest

from worker.engine.costs import benchmark
from worker.engine.costs.benchmark import measure
from worker.engine.costs.kinds import CONVERSION
from worker.engine.costs.plans import PLANS, added_plans, conversion_plan, int8_plans
from worker.engine.costs.table_file import read
from worker.engine.formats import adapter_of
from worker.engine.numerics.convolution import Convolution


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


@pytest.mark.parametrize("model_format", ["onnx", "torchscript"])
def test_sixteen_times_the_arithmetic_takes_longer(model_format, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    watch, _ = adapter_of(model_format).stopwatch()
    small = Convolution((8, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    large = Convolution((128, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert watch(large, (28, 28), 1) > watch(small, (28, 28), 1)


def test_a_layer_in_int8_is_timed_by_its_own_operator(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    watch = adapter_of("onnx").int8_stopwatch
    small = PLANS["3x3"].layer(16, 16)
    assert (
        watch(PLANS["3x3"].layer(64, 64), (28, 28), 1) > watch(small, (28, 28), 1) > 0
    )
    assert watch(PLANS["linear"].layer(64, 64), (), 4) > 0
    convert = adapter_of("onnx").conversion_stopwatch
    layer = conversion_plan().layer(64, 1)
    assert convert(layer, (112, 112), 1) > convert(layer, (4, 4), 1)
    assert not list(tmp_path.iterdir())

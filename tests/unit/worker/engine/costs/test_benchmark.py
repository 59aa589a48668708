"""The benchmark times every kind of layer on both runtimes, and keeps the faster of two rounds."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from worker.engine.costs import benchmark
from worker.engine.costs.benchmark import measure
from worker.engine.costs.int8_prices import CONVERSION
from worker.engine.costs.table import BLOCK, kind_of, read
from worker.engine.formats import adapter_of
from worker.engine.numerics.convolution import Convolution


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two points an axis and no large layers."""
    monkeypatch.chdir(tmp_path)  # where the profiler writes
    plans = {
        kind: replace(plan, inputs=plan.inputs[:2], outputs=plan.outputs[:2], sides=plan.sides[:2])
        for kind, plan in benchmark._PLANS.items()
    }
    monkeypatch.setattr(benchmark, "_PLANS", plans)
    return tmp_path


@pytest.mark.parametrize("model_format", ["onnx", "torchscript"])
def test_a_measured_table_has_a_time_for_every_kind(small, model_format):
    steps = []
    table = measure(model_format, lambda done, of: steps.append(done / of))
    assert steps == sorted(steps)
    kinds = set(benchmark._PLANS)
    if model_format == "onnx":
        kinds |= {*benchmark.int8_plans(benchmark._PLANS), CONVERSION}
        assert {"int8 3x3", "int8 1x1", "int8 linear"} < kinds
    assert {kind for kind, grid in table.grids.items() if grid.rate(8, 8, 4) > 0} == kinds
    table.write(small / "costs.json")
    assert read(small / "costs.json", model_format) == table
    assert [path.name for path in small.iterdir()] == ["costs.json"]


def test_every_planned_layer_is_of_its_kind():
    for kind, plan in benchmark._PLANS.items():
        for c, n in itertools.product(plan.inputs, plan.outputs):
            assert kind_of(plan.layer(c, n)) == kind


def test_of_two_rounds_the_least_is_kept(small, monkeypatch):
    times = itertools.count(1)
    adapter = SimpleNamespace(
        stopwatch=lambda: (lambda layer, size, batch: 1e6 * next(times), 0.0), int8_stopwatch=None
    )
    monkeypatch.setattr(benchmark, "adapter_of", lambda _: adapter)
    monkeypatch.setattr(benchmark, "_PLANS", {"3x3": benchmark._PLANS["3x3"]})
    grid = measure("onnx", lambda *_: None).grids["3x3"]
    first = benchmark._PLANS["3x3"].layer(4, BLOCK)
    assert grid.ns_per_mac[0][0][0] == 1e6 / first.macs((1, 1))


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
    small = benchmark._PLANS["3x3"].layer(16, 16)
    assert watch(benchmark._PLANS["3x3"].layer(64, 64), (28, 28), 1) > watch(small, (28, 28), 1) > 0
    assert watch(benchmark._PLANS["linear"].layer(64, 64), (), 4) > 0
    convert = adapter_of("onnx").conversion_stopwatch
    assert convert(benchmark._conversions().layer(64, 1), (112, 112), 1) > convert(
        benchmark._conversions().layer(64, 1), (4, 4), 1
    )
    assert not list(tmp_path.iterdir())

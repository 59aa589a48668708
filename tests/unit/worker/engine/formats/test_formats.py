"""A format is a package and a line in each registry: a toy of the tests goes the whole way."""

import json
from typing import get_args

import numpy as np
import pytest
from support.engine import toy_format
from support.engine.calibrating import calibrate_with
from support.engine.costs import written as cost_table_in

from convpress.formats import FORMATS, Format
from convpress.gate.check import require_safe
from convpress.gate.identify import identify
from convpress.gate.registry import GATES
from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from convpress.report import Inspection, Report
from worker.engine.calibration.effort import Effort
from worker.engine.costs import benchmark
from worker.engine.formats import ADAPTERS, load_runner
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.pipeline import compress, inspect
from worker.engine.request import Request
from worker.sandbox.account_parser import read

SHAPE = (16, 6, 6)


def layer(rng, outputs, inputs):
    """A 1x1 convolution whose singular values fall, as those of trained layers do."""
    weight = rng.standard_normal((outputs, inputs)) * np.exp(-np.arange(inputs) / 3)
    weight = (weight @ np.linalg.qr(rng.standard_normal((inputs, inputs)))[0]).astype(
        np.float32
    )
    geometry = Convolution((outputs, inputs, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    bias = rng.standard_normal(outputs).astype(np.float32)
    return Layer(geometry, weight[:, :, None, None], bias)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    toy_format.register(monkeypatch)
    rng = np.random.default_rng(0)
    path = tmp_path / "model.toy"
    sizes = [("stem", 32, 16), ("body", 32, 32), ("head", 10, 32)]
    steps = [(name, name != "head", [[layer(rng, n, c)]]) for name, n, c in sizes]
    toy_format.write(path, SHAPE, steps)
    return path


def asked(path, **settings):
    return Request(
        str(path),
        identify(path),
        str(path.parent / "out.toy"),
        f"{path}.json",
        **settings,
    )


def compressed(path, **settings):
    request = asked(path, **settings)
    compress(request, lambda *_: None)
    content = (path.parent / "model.toy.json").read_bytes()
    return path.parent / "out.toy", read(Report, content)


@pytest.mark.parametrize("registry", [FORMATS, GATES, ADAPTERS])
def test_every_registry_has_every_format(registry):
    assert tuple(registry) == get_args(Format)


def test_a_toy_is_recognised_and_checked(toy):
    assert identify(toy) == "toy"
    require_safe(toy, "toy", Limits())
    with pytest.raises(Refusal) as refused:
        require_safe(toy, "toy", Limits(nodes=2))
    assert refused.value.code == Code.MODEL_OVER_LIMIT
    toy.write_text(toy.read_text().replace('"input"', '"code": "import os", "input"'))
    with pytest.raises(Refusal) as refused:
        require_safe(toy, "toy", Limits())
    assert refused.value.code == Code.MODEL_UNSAFE


def test_a_toy_is_inspected(toy):
    request = asked(toy)
    inspect(request, lambda *_: None)
    inspection = read(Inspection, (toy.parent / "model.toy.json").read_bytes())
    assert [site.name for site in inspection.sites] == ["stem", "body", "head"]
    assert inspection.macs == 36 * (16 * 32 + 32 * 32 + 32 * 10)


@pytest.mark.parametrize("budgets", [{"flops_budget": "0.5"}, {"params_budget": "0.6"}])
def test_a_toy_is_compressed_verified_and_reported(toy, budgets):
    artifact, report = compressed(toy, budgets=budgets, calibration="none")
    assert report.format == "toy"
    assert report.keep <= 0.6
    assert "scipy" in report.engine.versions
    assert report.verification.finite
    require_safe(artifact, "toy", Limits())
    x = np.random.default_rng(1).standard_normal((2, *SHAPE)).astype(np.float32)
    original = load_runner("toy", toy)({"x": x})["y"]
    other = load_runner("toy", artifact)({"x": x})["y"]
    error = np.linalg.norm(original - other) / np.linalg.norm(original)
    assert 0 < error < 0.3


def test_a_toy_is_calibrated_by_its_program(toy, monkeypatch):
    calibrate_with(monkeypatch, Effort(most_images=16))
    _, report = compressed(toy, budgets={"flops_budget": "0.5"}, input_range="-1,1")
    assert report.calibration.kind == "synthetic"
    assert report.verification.relative_error < 0.3


def test_a_toy_is_timed_and_compressed_to_a_budget_of_time(toy, monkeypatch):
    monkeypatch.setattr(benchmark, "PLANS", {"1x1": benchmark.PLANS["1x1"]})
    table = benchmark.measure("toy", lambda *_: None)
    assert table.runtime.startswith("scipy ")
    costs = cost_table_in(toy.parent, model_format="toy", layer_ns=0.0)
    _, report = compressed(
        toy, budgets={"latency_budget": "0.5"}, calibration="none", costs=str(costs)
    )
    assert report.latency.predicted_after_ms <= 0.5 * report.latency.predicted_before_ms


def test_what_no_format_recognises_is_refused(toy):
    toy.write_text(json.dumps({"other": 1}))
    with pytest.raises(Refusal) as refused:
        identify(toy)
    assert refused.value.code == Code.MODEL_UNRECOGNISED

"""Calibrated compressions from file to file: accuracy, and the reports of hard models."""

import json
import weakref
from dataclasses import replace

import numpy as np
import onnx
import pytest
from digits import MODELS, accuracy
from onnx import numpy_helper
from support.engine.calibrating import calibrate_little, calibrate_with
from support.onnx.text import model as parsed
from support.onnx.text import written

from convpress.budgets import FLOPS
from convpress.gate.identify import identify
from convpress.report import Report
from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.formats import open_model
from worker.engine.model import OpenedModel
from worker.engine.pipeline import compress
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.analysis import analyse
from worker.engine.selection.bound_budget import BoundBudget
from worker.engine.selection.objective import Objective, choose
from worker.engine.selection.replacements import factor, refit_replacements
from worker.engine.stages import planning
from worker.sandbox.account_parser import read

KEEPS = (0.4, 0.3)  # at 0.5 hardly a point is lost either way


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    calibrate_with(
        monkeypatch, replace(DEFAULT_EFFORT, most_images=64, held_out_images=32)
    )


def run(folder, source, **asked):
    output = folder / f"out{source.suffix}"
    report = folder / "report.json"
    budgets = {"flops_budget": asked.pop("flops_budget", "0.6")}
    request = Request(
        str(source), identify(source), str(output), str(report), budgets, **asked
    )
    compress(request, lambda *_: None)
    read(Report, report.read_bytes())  # as the worker does
    return output, json.loads(report.read_text())


def analysed(source, calibration):
    """Return an opened model and its analysis."""
    model_format = identify(source)
    model = open_model(model_format, source)
    shapes = {spec.name: (1, 1, 16, 16) for spec in model.inputs}
    opened = OpenedModel(model_format, source, model, shapes)
    request = Request(str(source), model_format, "", "", calibration=calibration)
    return opened, analyse(request, opened, Progress(lambda *_: None))


def losses(folder, source, calibration):
    """Return the points of accuracy lost at every budget, from one analysis."""
    opened, analysis = analysed(source, calibration)
    model = opened.model
    outputs = []
    for keep in KEEPS:
        budget = BoundBudget.of(FLOPS.parse(str(keep)), opened, analysis.candidates)
        chosen = choose(analysis, Objective((budget,)))
        layers, _ = refit_replacements(
            model, analysis, chosen, factor(model, analysis, chosen)
        )
        fresh = open_model(opened.format, source)
        for site in fresh.count(opened.shapes).sites:
            if site.name in layers:
                fresh.replace(site, layers[site.name])
        output = folder / f"out{source.suffix}"
        fresh.save(output)
        outputs.append(100 * (accuracy(source) - accuracy(output)))
    return np.array(outputs)


# One model of the three in `make test`; the others take as long, and are left to `make slow`.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("plain.traced.pt", marks=pytest.mark.slow),
        "batchnorm.onnx",
        pytest.param("batchnorm.traced.pt", marks=pytest.mark.slow),
    ],
)
def test_calibrated_models_lose_fewer_points_than_those_compressed_by_their_weights(
    tmp_path, name
):
    calibrated = losses(tmp_path, MODELS / name, "synthetic")
    by_weights = losses(tmp_path, MODELS / name, "none")
    assert (calibrated <= by_weights).all()
    assert calibrated.sum() < 0.6 * by_weights.sum()


@pytest.mark.parametrize(
    "name",
    ["plain.onnx", pytest.param("batchnorm.traced.pt", marks=pytest.mark.slow)],
)
def test_sites_are_weighed_each_for_itself(monkeypatch, name):
    calibrate_little(monkeypatch)
    weights = analysed(MODELS / name, "synthetic")[1].weights
    assert len(set(weights.values())) > 1


@pytest.mark.parametrize(
    "name",
    ["plain.onnx", pytest.param("batchnorm.scripted.pt", marks=pytest.mark.slow)],
)
def test_the_same_model_and_budget_give_the_same_bytes(tmp_path, monkeypatch, name):
    calibrate_little(monkeypatch)
    first, report = run(
        tmp_path, MODELS / name, flops_budget="0.4", input_shape="1x1x16x16"
    )
    content = first.read_bytes()
    again, report_again = run(
        tmp_path, MODELS / name, flops_budget="0.4", input_shape="1x1x16x16"
    )
    assert again.read_bytes() == content
    assert report_again["calibration"] == report["calibration"]
    assert report["calibration"]["kind"] == "distilled"
    assert report["calibration"]["held_out_error"].keys() == {"closed_form", "refitted"}
    assert report["verification"]["runs"] > 1


NET = (
    "net (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) "
    "<float[8, 8, 3, 3] w, float[8, 8, 3, 3] v{more}>"
)
BODY = "a = Conv<pads=[1, 1, 1, 1]>(x, w) b = Relu(a) c = Conv<pads=[1, 1, 1, 1]>(b, v)"


def of(folder, text, edit=lambda model: model, **asked):
    return run(folder, written(folder, edit(parsed(text))), **asked)[1]


HARD = {
    "nan": (
        NET.format(more=""),
        f"{{ {BODY} z = Sub(c, c) y = Div(z, z) }}",
        "gives NaN or infinity",
    ),
    "constant": (
        NET.format(more=""),
        f"{{ {BODY} z = Sub(c, c) y = Exp(z) }}",
        "the same outputs whatever the inputs",
    ),
    "no batch": (
        "net (float[128] x) => (float[1, 4, 14] y)<int64[3] k = {1, 8, 16}, float[4, 8, 3] w>",
        "{ s = Reshape(x, k) y = Conv(s, w) }",
        "no input of the model is a batch of images, signals or indices",
    ),
}


@pytest.mark.parametrize("kind", HARD)
def test_models_that_cannot_be_calibrated_are_compressed_by_their_weights_and_the_report_says_why(
    tmp_path, kind
):
    head, body, reason = HARD[kind]
    report = of(tmp_path, head + body)
    assert report["keep"] <= 0.6
    assert report["calibration"]["kind"] == "none"
    assert reason in report["calibration"]["reason"]
    assert report["risk"]["level"] == "unknown"


def test_several_inputs_are_calibrated_together(tmp_path):
    report = of(
        tmp_path,
        "net (float[1, 3, 16, 16] x, float[1, 1, 16, 16] z, float s, int64[1] i) => (float[1, 8, "
        "12, 12] y)"
        "<float[8, 4, 3, 3] w, float[8, 8, 3, 3] v>"
        "{ a = Concat<axis=1>(x, z) b = Conv(a, w) c = Relu(b) d = Conv(c, v) e = Mul(d, s)"
        "  f = Cast<to=1>(i) y = Add(e, f) }",
        input_range="0,1",
    )
    assert report["calibration"]["kind"] == "synthetic"
    assert report["verification"]["relative_error"] < 0.5


@pytest.mark.slow
def test_images_of_a_fixed_size_too_large_to_calibrate_on_are_verified_at_that_size(
    tmp_path,
):
    wide = NET.replace("16, 16", "128, 128").format(more="")
    report = of(tmp_path, f"{wide} {{ {BODY} y = Relu(c) }}")
    assert report["inputs"][0]["shape"] == "1x8x128x128"
    assert report["calibration"]["kind"] == "synthetic"
    assert report["verification"]["relative_error"] < 0.5


def test_dead_channels_cost_no_rank_and_do_no_harm(tmp_path):
    def biased(value):
        def edit(model):
            [bias] = [each for each in model.graph.initializer if each.name == "d"]
            bias.CopyFrom(
                numpy_helper.from_array(
                    np.array([value] * 5 + [0] * 3, np.float32), "d"
                )
            )
            return model

        return edit

    body = BODY.replace("(x, w)", "(x, w, d)")
    text = NET.format(more=", float[8] d") + f"{{ {body} y = Relu(c) }}"
    asked = {"flops_budget": "0.9", "input_range": "0,1"}
    alive = of(tmp_path, text, biased(0), **asked)
    dead = of(tmp_path, text, biased(-1000), **asked)
    assert dead["predicted_error"] < 0.02 * alive["predicted_error"]
    assert dead["verification"]["relative_error"] < 0.1
    assert dead["calibration"]["kind"] == "synthetic"
    assert dead["calibration"]["notes"] == []


def test_half_precision_weights_are_calibrated_in_single_and_stay_half(tmp_path):
    text = (NET.format(more="") + f"{{ {BODY} y = Relu(c) }}").replace(
        "float[", "float16["
    )
    report = of(tmp_path, text)
    assert report["calibration"]["kind"] == "synthetic"
    assert report["verification"]["relative_error"] < 0.6
    weights = onnx.load(tmp_path / "out.onnx").graph.initializer
    assert {initializer.data_type for initializer in weights} == {
        onnx.TensorProto.FLOAT16
    }


def test_raw_images_with_channels_last_are_calibrated(tmp_path):
    report = of(
        tmp_path,
        "net (uint8[1, 16, 16, 3] x) => (float[1, 16, 12, 12] y) <float[16, 3, 3, 3] w, float[16, "
        "16, 3, 3] v>"
        "{ f = Cast<to=1>(x) t = Transpose<perm=[0, 3, 1, 2]>(f) a = Conv(t, w) b = Relu(a) y = "
        "Conv(b, v) }",
    )
    assert report["calibration"]["ranges_from"] == "the integer type of the inputs"
    assert report["verification"]["relative_error"] < 0.5


def test_the_risk_rests_on_what_was_predicted_too(tmp_path, monkeypatch):
    calibrate_little(monkeypatch)
    _, report = run(tmp_path, MODELS / "batchnorm_bn.onnx")
    assert (
        f"{100 * report['predicted_error'] ** 0.5:.1f} % were predicted"
        in report["risk"]["text"]
    )


@pytest.mark.parametrize(
    "is_reused", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_while_layers_are_refitted_no_moments_are_held(
    tmp_path, monkeypatch, is_reused
):
    """They are most of a job's memory, and nothing needs them any more."""
    calibrate_little(monkeypatch)
    seen = []
    left = []

    def factored(model, analysis, *arguments):
        seen.extend(map(weakref.ref, analysis.calibration.moments.by_site.values()))
        return factor(model, analysis, *arguments)

    def watched(*arguments):
        left.extend(moments() for moments in seen)
        return refit_replacements(*arguments)

    source = MODELS / "plain.onnx"
    kept = {"kept_analysis": str(tmp_path / "kept"), "largest_analysis": 1 << 30}
    request = Request(
        str(source),
        "onnx",
        str(tmp_path / "out"),
        str(tmp_path / "report"),
        {"flops_budget": "0.5"},
    )
    if is_reused:
        compress(replace(request, **kept), lambda *_: None)
        request = replace(request, analysis=kept["kept_analysis"])
    monkeypatch.setattr(planning, "factor", factored)
    monkeypatch.setattr(planning, "refit_replacements", watched)
    compress(request, lambda *_: None)
    assert seen
    assert left == [None] * len(seen)

"""A user's own labels: the figures are those of an independent run, and bad files are refused."""

import json

import numpy as np
import pytest
from digits import MODELS, scores, split
from support.engine.compressing import compressed
from support.engine.evaluating import COUNT, digits_file
from support.onnx.text import written

from convpress.refusal import Refusal
from convpress.report import Report
from worker.engine.pipeline import compress
from worker.engine.request import Request


def accuracy(path):
    _, (images, labels) = split()
    return float(np.mean(scores(path, images[:COUNT]).argmax(1) == labels[:COUNT]))


@pytest.mark.parametrize("name", ["plain.onnx", "plain.traced.pt"])
def test_top_one_is_measured_before_and_after(tmp_path, name):
    path = digits_file(tmp_path, name)
    output, report, _ = compressed(
        tmp_path, name, flops_budget="0.06", evaluation=str(path)
    )
    evaluation = Report.model_validate(report).evaluation
    assert evaluation.metric == "top-1"
    assert evaluation.count == COUNT
    assert evaluation.before == pytest.approx(accuracy(MODELS / name))
    assert evaluation.after == pytest.approx(accuracy(output))
    assert (
        evaluation.after < evaluation.before
    )  # without a calibration the budget costs something
    assert evaluation.loss == pytest.approx(evaluation.before - evaluation.after)
    assert list(report)[4] == "evaluation"
    # without a calibration nothing else tells the level
    assert report["risk"]["level"] == "high"
    assert report["risk"]["expected_loss"]["expected"] == pytest.approx(
        evaluation.loss / evaluation.before, abs=1e-6
    )


def test_a_fixed_batch_is_filled_and_the_rest_not_counted(tmp_path):
    path = digits_file(tmp_path, "plain.onnx")
    options = {"flops_budget": "0.3", "evaluation": str(path)}
    _, report, _ = compressed(
        tmp_path, "plain.onnx", input_shape="7x1x16x16", **options
    )
    assert report["evaluation"]["before"] == pytest.approx(
        accuracy(MODELS / "plain.onnx")
    )


_, (IMAGES, LABELS) = split()


@pytest.mark.parametrize(
    ("arrays", "metric", "detail", "expected"),
    [
        (
            {"picture": IMAGES[:COUNT]},
            "top-1",
            "no input 'picture'",
            "image (float32 ?x1x16x16)",
        ),
        (
            {"image": None},
            "top-1",
            "no samples of input 'image'",
            "image (float32 ?x1x16x16)",
        ),
        ({"image": IMAGES[:COUNT, :, :8]}, "top-1", "another shape", "?x1x16x16"),
        ({"image": IMAGES[:9]}, "top-1", "different numbers", "9 labels"),
        (
            {"image": IMAGES[:COUNT] * np.nan},
            "top-1",
            "NaN or infinity",
            "finite float32",
        ),
        ({"labels": LABELS[:COUNT] + 5}, "top-1", "beyond the 10 classes", "0 to 9"),
        (
            {"labels": LABELS[:0], "image": IMAGES[:0]},
            "top-1",
            "no labels",
            "one for each sample",
        ),
        ({"labels": None}, "top-1", "neither labels nor targets", "labels"),
        ({"targets": LABELS[:COUNT]}, "top-1", "both labels and targets", "labels"),
        ({}, "psnr", "psnr needs targets", "top-1 for labels"),
        ({"labels": None, "targets": LABELS[:COUNT]}, "mse", "another shape", "?x10"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_was_expected(
    tmp_path, arrays, metric, detail, expected
):
    path = digits_file(tmp_path, "plain.onnx", **arrays)
    options = {"evaluation": str(path), "evaluation_metric": metric}
    with pytest.raises(Refusal, match=detail) as caught:
        compressed(tmp_path, "plain.onnx", flops_budget="0.5", **options)
    assert caught.value.code == "evaluation_invalid"
    assert expected in caught.value.expected


TWO_OUTPUTS = (
    '<ir_version: 8, opset_import: ["": 17]> '
    "g (float[1, 8, 12, 12] x) => (float[1, 16, 12, 12] y, float[1, 16, 12, 12] z) "
    "<float[16, 8, 3, 3] w> "
    "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) z = Sigmoid(y) }"
)


def evaluated(tmp_path, **options):
    samples = (
        np.random.default_rng(0).standard_normal((3, 8, 12, 12)).astype(np.float32)
    )
    path = tmp_path / "evaluation.npz"
    np.savez(path, x=samples, targets=np.full((3, 16, 12, 12), 0.5, np.float32))
    report = tmp_path / "report.json"
    request = Request(
        str(written(tmp_path, TWO_OUTPUTS)),
        "onnx",
        str(tmp_path / "out.onnx"),
        str(report),
        {"flops_budget": "0.6"},
        calibration="none",
        evaluation=str(path),
        evaluation_metric="mse",
        **options,
    )
    compress(request, lambda *_: None)
    return json.loads(report.read_text())["evaluation"]


@pytest.mark.parametrize(
    ("options", "detail"),
    [({}, "2 outputs"), ({"evaluation_output": "q"}, "no output 'q'")],
)
def test_of_several_outputs_one_has_to_be_named(tmp_path, options, detail):
    with pytest.raises(Refusal, match=detail) as caught:
        evaluated(tmp_path, **options)
    assert caught.value.field == "evaluation_output"
    assert caught.value.expected == "one of y, z"


def test_the_named_output_is_measured(tmp_path):
    sigmoid = evaluated(tmp_path, evaluation_output="z")
    assert sigmoid["output"] == "z"
    assert (
        sigmoid["before"] <= 0.25 < evaluated(tmp_path, evaluation_output="y")["before"]
    )

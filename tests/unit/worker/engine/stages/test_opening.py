"""A model is opened, bound, counted and looked through before any work."""

import json

import pytest
from digits import MODELS
from support.onnx.text import written

from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from worker.engine.formats import open_model
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.stages.dequantising import FloatFile
from worker.engine.stages.opening import bound, inspect_file, open_for_compression

NET = """g (float[n, 4, 8, 8] x) => (float[n, 8, 8, 8] y) <float[8, 4, 3, 3] w> {
    y = Conv <pads = [1, 1, 1, 1]> (x, w) }"""
PRODUCTS = """g (float[2, 8] x) => (float[2, 2] y) <float[2, 2] w> {
    t = Transpose(x)  a = MatMul(x, t)  y = MatMul(w, a) }"""
PLAIN = "g (float[2] x) => (float[2] y) { y = Relu(x) }"


def request(path, **members):
    folder = path.parent
    outputs = str(folder / "out.onnx"), str(folder / "report.json")
    return Request(str(path), "onnx", *outputs, **members)


def opened(path, **members):
    asked = request(path, **members)
    floats = FloatFile(path, None)
    return open_for_compression(asked, path, floats, Progress(lambda *_: None))


def refused(path, **members):
    with pytest.raises(Refusal) as error:
        opened(path, **members)
    return error.value


def test_a_model_is_bound_to_its_shapes_and_inspected(tmp_path):
    inspection = tmp_path / "inspection.json"
    model = opened(written(tmp_path, NET), inspection=str(inspection))
    assert model.shapes == {"x": (1, 4, 8, 8)}
    assert model.profile.macs == 64 * 8 * 36
    assert model.posted is None
    assert json.loads(inspection.read_text())["macs"] == model.profile.macs


def test_the_users_shape_counts(tmp_path):
    path = written(tmp_path, NET)
    asked = request(path, input_shape="3x4x8x8")
    model = bound(asked, path, open_model("onnx", path))
    assert model.shapes == {"x": (3, 4, 8, 8)}


def test_a_model_without_layers_is_refused_with_the_reasons(tmp_path):
    refusal = refused(written(tmp_path, PRODUCTS))
    assert refusal.code == Code.NOTHING_TO_COMPRESS
    assert "left factor of the product (1 layer)" in refusal.detail
    assert refusal.got == "MatMul, Transpose"
    refusal = refused(written(tmp_path, PLAIN))
    assert refusal.detail == "the model has no layers with weights"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"form": "unknown"}, Code.FORM_INVALID),
        ({"rank": 0}, Code.FORM_INVALID),
        ({"precision": "int8", "calibration": "none"}, Code.PRECISION_INVALID),
        ({"limits": Limits(nodes=0)}, Code.MODEL_OVER_LIMIT),
        ({"input_shape": "1x5x8x8"}, Code.INPUT_SHAPE_MISMATCH),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(tmp_path, members, code):
    assert refused(written(tmp_path, NET), **members).code == code


def inspected(path, model_format, report, **members):
    asked = Request(str(path), model_format, "", str(report), **members)
    inspect_file(asked, path, Progress(lambda *_: None))
    return json.loads(report.read_text())


def test_costs_are_left_out_where_shapes_are_not_known(tmp_path):
    report = tmp_path / "report.json"
    path = MODELS / "plain.traced.pt"
    without = inspected(path, "torchscript", report)
    assert without["macs"] is None
    with_shape = inspected(path, "torchscript", report, input_shape="1x1x16x16")
    assert with_shape["macs"] > 0


def test_an_inspection_of_a_wrong_shape_is_refused(tmp_path):
    path = written(tmp_path, NET)
    with pytest.raises(Refusal) as error:
        inspected(path, "onnx", tmp_path / "report.json", input_shape="1x5x8x8")
    assert error.value.code == Code.INPUT_SHAPE_MISMATCH


def test_a_model_of_which_nothing_runs_is_refused(tmp_path):
    """The share that an artifact keeps would be one of nothing."""
    text = """g (float[2, 8] x) => (float[2, 8] y) <float[8, 8] w> {
        t = Constant <value = bool {1}> ()  n = Constant <value = int64 {0}> ()
        y = Loop (n, t, x) <body = b (int64 i, bool go, float[2, 8] m) => (bool on, float o) {
            on = Identity(t)  o = MatMul(m, w) }> }"""
    refusal = refused(written(tmp_path, text))
    assert refusal.code == Code.NOTHING_TO_COMPRESS
    assert "it does not run on inputs of these shapes (1 layer)" in str(refusal)

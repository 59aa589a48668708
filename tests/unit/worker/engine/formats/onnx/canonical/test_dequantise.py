"""Quantised models become the float models that they stand for."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx.text import model, outputs, written

from worker.engine.formats.onnx.floats import write_in_float
from worker.engine.model import Restored

HEAD = "g (float[1, 4] x) => (float[1, 6] y)"
SCALE = "s = Constant <value = float {0.125}> () z = Constant <value = uint8 {0}> () "
PAIR = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
X = np.float32([[-3, 0.06, 0.0625, 40]])
CLIPPED = np.clip(X, 0, 255 * 0.125)


def restored(tmp_path, text, **options):
    """Return what was restored in a model, and the float model."""
    source, target = written(tmp_path, text, **options), tmp_path / "floats.onnx"
    report = write_in_float(source, target)
    if report is None:
        assert not target.exists()
        return None, None
    proto = onnx.load(target)
    onnx.checker.check_model(proto, full_check=True)
    return report, proto


def operators(proto):
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize(
    ("scales", "attributes"),
    [("float f", ""), ("float[6] f", "<axis = 1>")],
    ids=["tensor", "channel"],
)
def test_weights_are_the_products_of_integers_and_scales(tmp_path, scales, attributes):
    text = (
        f"{HEAD} <int8[4, 6] w, {scales}> "
        f"{{ v = DequantizeLinear {attributes} (w, f) y = MatMul(x, v) }}"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=0)
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model(text).graph.initializer
    }
    [weight] = proto.graph.initializer
    expected = stored["w"].astype(np.float32) * stored["f"]
    np.testing.assert_array_equal(numpy_helper.to_array(weight), expected)


def test_a_pair_becomes_a_clip_to_what_the_integers_hold(tmp_path):
    text = (
        f"{HEAD} <int8[4, 6] w, float f> "
        f"{{ {SCALE} {PAIR} v = DequantizeLinear(w, f) y = MatMul(d, v) }}"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=1)
    assert operators(proto) == ["Clip", "MatMul"]
    weight = next(
        numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if len(tensor.dims) == 2
    )
    [got] = outputs(tmp_path / "floats.onnx", {"x": X})
    np.testing.assert_allclose(got, CLIPPED @ weight, rtol=1e-6)


def test_weights_that_are_rounded_in_the_graph_keep_the_rounding(tmp_path):
    text = (
        f"{HEAD} <float[4, 6] w> {{ f = Constant <value = float {{0.5}}> () "
        "t = Constant <value = int8 {0}> () i = QuantizeLinear(w, f, t) "
        "v = DequantizeLinear(i, f, t) y = MatMul(x, v) }"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=0)
    [weight] = proto.graph.initializer
    drawn = numpy_helper.to_array(model(text).graph.initializer[0])
    np.testing.assert_array_equal(
        numpy_helper.to_array(weight), np.round(drawn / 0.5) * 0.5
    )


def test_all_readers_of_a_pair_read_the_clip(tmp_path):
    text = (
        "g (float[1, 4] x) => (float[1, 6] y, float[1, 4] o) <int8[4, 6] w, float f> "
        f"{{ {SCALE} {PAIR} e = DequantizeLinear(q, s, z) o = DequantizeLinear(q, s, z) "
        "v = DequantizeLinear(w, f) h = Add(d, e) y = MatMul(h, v) }"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=1)
    assert sorted(operators(proto)) == ["Add", "Clip", "Identity", "MatMul"]
    _, clipped = outputs(tmp_path / "floats.onnx", {"x": X})
    np.testing.assert_array_equal(clipped, CLIPPED)


def test_integers_that_something_else_reads_stay(tmp_path):
    text = (
        f"{HEAD} <int8[4, 6] w, float f> {{ {SCALE} q = QuantizeLinear(x, s, z) m = Identity(q) "
        "d = DequantizeLinear(m, s, z) v = DequantizeLinear(w, f) y = MatMul(d, v) }"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=0)
    assert operators(proto) == [
        *["Constant", "Constant", "QuantizeLinear", "Identity", "DequantizeLinear"],
        "MatMul",
    ]


def test_a_pair_that_ends_in_a_body_stays(tmp_path):
    text = (
        f"{HEAD} <int8[4, 6] w, float f> {{ {SCALE} q = QuantizeLinear(x, s, z) "
        "c = Constant <value = bool {1}> () "
        "h = If <then_branch = yes () => (float[1, 4] t) { t = DequantizeLinear(q, s, z) }, "
        "else_branch = no () => (float[1, 4] e) { e = Relu(x) }> (c) "
        "v = DequantizeLinear(w, f) y = MatMul(h, v) }"
    )
    source = written(tmp_path, text)
    report = write_in_float(source, tmp_path / "floats.onnx")
    assert report == Restored(weights=1, pairs=0)
    expected = outputs(source, {"x": X})
    np.testing.assert_allclose(
        outputs(tmp_path / "floats.onnx", {"x": X}), expected, rtol=1e-6
    )


def test_a_pair_of_two_scales_stays(tmp_path):
    text = (
        f"{HEAD} <int8[4, 6] w, float f> {{ {SCALE} t = Constant <value = float {{0.25}}> () "
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, t, z) v = DequantizeLinear(w, f) "
        "y = MatMul(d, v) }"
    )
    report, proto = restored(tmp_path, text)
    assert report == Restored(weights=1, pairs=0)
    assert "Clip" not in operators(proto)


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("f = ReduceMax <keepdims = 0> (x) v = DequantizeLinear(w, f) y = MatMul(x, v)", 17),
        ("f = Constant <value = float {0.5}> () v = DequantizeLinear(w, f) y = MatMul(x, v)", 10),
        ("f = Constant <value = float {0.5}> () v = DequantizeLinear(w, f) k = MatMul(x, v) "
         "y = MatMul(k, u)", 10),
    ],
    ids=["scale of a run", "old opset", "old opset beside floats"],
)  # fmt: skip
def test_models_whose_floats_are_not_known_are_left_alone(tmp_path, body, opset):
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    text = f"{HEAD} <int8[4, 6] w, float[6, 6] u> {{ {body} }}"
    assert restored(tmp_path, text, header=header) == (None, None)

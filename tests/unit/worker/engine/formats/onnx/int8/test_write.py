"""A model in int8 computes what integers of 8 bits give, and leaves the layers that it is told."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx.text import outputs, written

from convpress.gate.check import require_safe
from convpress.limits import Limits
from convpress.refusal import Code, Refusal
from worker.engine.formats import load_runner, open_model
from worker.engine.formats.adapter import Int8Inputs
from worker.engine.formats.onnx.int8 import survivors
from worker.engine.formats.onnx.int8.write import (
    site_losses,
    write_in_int8,
    write_without_content,
)

NET = """g (float[1, 4, 8, 8] x) => (float[1, 3] y)
<float[8, 4, 3, 3] w1, float[8] b1, float[8, 8, 1, 1] w2, float[8, 2, 3, 3] w3, float[8, 3] w4> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu(a)
    c = Conv(b, w2)
    d = Conv <pads = [1, 1, 1, 1], group = 4> (c, w3)
    e = GlobalAveragePool(d)
    f = Flatten(e)
    y = Gemm(f, w4) }"""


def inputs(count=6, seed=0):
    generator = np.random.default_rng(seed)
    return [
        {"x": generator.standard_normal((1, 4, 8, 8)).astype(np.float32)}
        for _ in range(count)
    ]


INPUTS = Int8Inputs(inputs(), inputs(2, seed=1), 100)


def quantised(path, float_sites=()):
    source = path.read_bytes()
    layers = write_in_int8(path, INPUTS, float_sites)
    model = onnx.load(path)
    return (
        layers,
        model,
        written(path.parent, onnx.ModelProto.FromString(source), "float.onnx"),
    )


def test_dense_layers_are_in_int8_and_grouped_ones_in_float(tmp_path):
    layers, model, original = quantised(written(tmp_path, NET))
    assert layers.sites == ("w1", "w2", "w4")
    onnx.checker.check_model(model, full_check=True)
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert {name for name, kind in stored.items() if kind == onnx.TensorProto.INT8} >= {
        f"w{at}_quantized" for at in (1, 2, 4)
    }
    assert stored["w3"] == onnx.TensorProto.FLOAT
    expected = outputs(original, INPUTS.held_out[0])[0]
    got = load_runner("onnx", tmp_path / "model.onnx")(INPUTS.held_out[0])["y"]
    assert 0 < np.linalg.norm(got - expected) < 0.05 * np.linalg.norm(expected)


def test_the_account_has_the_same_arithmetic_and_weights_and_passes_the_gate(tmp_path):
    _, _, original = quantised(written(tmp_path, NET))
    path = tmp_path / "model.onnx"
    require_safe(path, "onnx", Limits())
    before, after = open_model("onnx", original), open_model("onnx", path)
    shapes = {"x": (1, 4, 8, 8)}
    float_profile, profile = before.count(shapes), after.count(shapes)
    assert profile.macs == float_profile.macs
    assert float_profile.integer_macs == 0
    assert profile.integer_macs == 64 * 8 * 4 * 9 + 64 * 8 * 8 + 8 * 3
    assert after.parameters == before.parameters == 8 * 36 + 8 + 64 + 8 * 18 + 24


def test_layers_that_are_to_stay_do_and_an_empty_file_is_as_large(tmp_path):
    path = written(tmp_path, NET)
    twin = written(tmp_path, onnx.load(path), "twin.onnx")
    layers, model, _ = quantised(path, {"w2"})
    assert layers.sites == ("w1", "w4")
    assert "w2" in {tensor.name for tensor in model.graph.initializer}
    write_without_content(twin, {"w2"})
    assert abs(twin.stat().st_size - path.stat().st_size) <= 8


def test_each_site_has_the_loss_of_its_own(tmp_path):
    losses = site_losses(written(tmp_path, NET), tmp_path / "scratch", INPUTS)
    assert losses.by_site.keys() == {"w1", "w2", "w4"}
    assert all(0 < loss < 0.05 for loss in losses.by_site.values())
    assert losses.all_survive


def test_a_layer_that_loses_too_much_stays_in_float(tmp_path):
    model = onnx.load(written(tmp_path, NET))
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            # one input channel drowns the others, whose values are then all rounded to nothing
            tensor.CopyFrom(
                numpy_helper.from_array(np.full((8, 8, 1, 1), 1e-3, np.float32), "w2")
            )
        if tensor.name == "b1":
            tensor.CopyFrom(numpy_helper.from_array(np.float32([4e4] + [0] * 7), "b1"))
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            weight = numpy_helper.to_array(tensor).copy()
            weight[:, 0] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, "w2"))
    layers, kept, _ = quantised(written(tmp_path, model))
    assert set(layers.losses) & {"w1", "w2"}
    assert min(layers.losses.values()) > 0.05
    assert "w4" in layers.sites
    assert "w2" in {tensor.name for tensor in kept.graph.initializer}


def test_a_model_that_loses_too_much_everywhere_keeps_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(survivors, "MOST_ERROR", 0.0)
    path = written(tmp_path, NET)
    before = path.read_bytes()
    layers = write_in_int8(path, INPUTS, ())
    assert layers.sites == ()
    assert layers.losses.keys() == {"w1", "w2", "w4"}
    assert path.read_bytes() == before


def test_a_model_without_such_a_layer_is_refused(tmp_path):
    text = """g (float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] y) <float[8, 2, 1, 1] w>
    { y = Conv <group = 4> (x, w) }"""
    with pytest.raises(Refusal, match="int8 applies to no layer") as refused:
        write_in_int8(written(tmp_path, text), INPUTS, ())
    assert refused.value.code == Code.NOTHING_TO_COMPRESS

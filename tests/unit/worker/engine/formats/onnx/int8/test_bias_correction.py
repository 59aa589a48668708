"""Biases make up for the mean error of layers in int8."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx.text import outputs, written

from worker.engine.formats.adapter import Int8Inputs
from worker.engine.formats.onnx.int8 import survivors
from worker.engine.formats.onnx.int8.bias_correction import corrected
from worker.engine.formats.onnx.int8.prepare import prepare
from worker.engine.formats.onnx.int8.quantise import quantised
from worker.engine.formats.onnx.int8.ranges import activation_ranges
from worker.engine.formats.onnx.int8.write import write_in_int8

NET = """g (float[1, 8, 8, 8] x) => (float[1, 6, 8, 8] y)
<float[8, 1, 3, 3] w1, float[8] b1, float[8, 1, 3, 3] w2, float[8] b2,
 float[6, 8, 1, 1] w3, float[6] b3> {
    a = Conv <pads = [1, 1, 1, 1], group = 8> (x, w1, b1)
    b = Relu(a)
    c = Conv <pads = [1, 1, 1, 1], group = 8> (b, w2, b2)
    d = Relu(c)
    y = Conv(d, w3, b3) }"""


def images(count, seed):
    generator = np.random.default_rng(seed)
    return [
        {"x": generator.uniform(0, 1, (1, 8, 8, 8)).astype(np.float32)}
        for _ in range(count)
    ]


def depthwise_net(tmp_path, text=NET):
    """Write a net with one large weight a channel: the others round badly."""
    path = written(tmp_path, text)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in ("w1", "w2"):
            weights = np.full((8, 1, 3, 3), 0.14, np.float32)
            weights[:, 0, 1, 1] = 40
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, path)
    return path


def mean_shift(path, other, inputs):
    """Return the largest shift of a channel's mean between two files."""
    sums = [outputs(other, each)[0] - outputs(path, each)[0] for each in inputs]
    return np.abs(np.mean(sums, axis=(0, 1, 3, 4))).max()


@pytest.mark.parametrize("second", ["b2", "b1"], ids=["own biases", "a shared bias"])
def test_the_means_of_the_channels_are_those_of_the_float_model(tmp_path, second):
    path = depthwise_net(tmp_path, NET.replace("w2, b2)", f"w2, {second})"))
    prepared = prepare(path, tmp_path / "scratch")
    nodes = [layer.node for layer in prepared.layers]
    fitting, held_out = images(8, 0), images(8, 1)
    ranges = activation_ranges(prepared.model, fitting)
    plain = written(tmp_path, quantised(prepared.model, ranges, nodes), "plain.onnx")
    model = corrected(prepared.model, ranges, nodes, fitting)
    better = written(tmp_path, quantised(model, ranges, nodes), "better.onnx")
    shift = mean_shift(path, plain, held_out)
    assert shift > 0.05
    assert mean_shift(path, better, held_out) < 0.25 * shift


@pytest.mark.parametrize(
    ("pays", "count"), [(0.8, 3), (0.0, 2)], ids=["pays", "does not"]
)
def test_more_layers_survive_where_a_correction_pays(
    tmp_path, monkeypatch, pays, count
):
    path = depthwise_net(tmp_path)
    monkeypatch.setattr(survivors, "_CORRECTION_PAYS", pays)
    monkeypatch.setattr(survivors, "MOST_ERROR", 0.025)
    inputs = Int8Inputs(images(8, 0), images(8, 1), 100)
    layers = write_in_int8(path, inputs, ())
    assert len(layers.sites) == count


def test_layers_without_a_bias_are_left_as_they_are(tmp_path):
    text = (
        "g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y) <float[8, 4, 1, 1] w> "
        "{ y = Conv(x, w) }"
    )
    prepared = prepare(written(tmp_path, text), tmp_path / "scratch")
    nodes = [layer.node for layer in prepared.layers]
    inputs = [{"x": np.ones((1, 4, 8, 8), np.float32)}]
    ranges = activation_ranges(prepared.model, inputs)
    assert corrected(prepared.model, ranges, nodes, inputs) == prepared.model


ROWS = """g (float[4, 8] x) => (float[n, 6] y)
<float[8, 6] w, float[6] b, int64[1] first = {0}, int64[1] second = {1}> {
    column = Slice(x, first, second, second)
    numbers = Squeeze(column, second)
    i = NonZero(numbers)
    j = Transpose(i)
    rows = GatherND(x, j)
    y = Gemm(rows, w, b) }"""


@pytest.mark.parametrize("has_rows", [(True, False), (False, False)])
def test_inputs_that_give_a_layer_no_rows_have_no_part_in_its_mean(tmp_path, has_rows):
    prepared = prepare(written(tmp_path, ROWS), tmp_path / "scratch")
    nodes = [layer.node for layer in prepared.layers]
    some = {"x": np.random.default_rng(0).uniform(1, 2, (4, 8)).astype(np.float32)}
    none = {"x": np.zeros((4, 8), np.float32)}
    ranges = activation_ranges(prepared.model, [some])
    inputs = [some if each else none for each in has_rows]
    expected = prepared.model
    if any(has_rows):
        expected = corrected(prepared.model, ranges, nodes, [some])
    assert corrected(prepared.model, ranges, nodes, inputs) == expected

"""Models in float16 in int8: float32 within, float16 at the ends."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.onnx.text import outputs, written

from worker.engine.formats.adapter import Int8Inputs
from worker.engine.formats.onnx.int8.widen import widen
from worker.engine.formats.onnx.int8.write import write_in_int8

NET = """g (float16[1, 4, 8, 8] x) => (float16[1, 8, 8, 8] y, float16[1, 8, 8, 8] a)
<float16[8, 4, 3, 3] w1, float16[8] b1, float16[8, 8, 1, 1] w2> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    b = Relu(a)
    c = Cast <to = 10> (b)
    y = Conv(c, w2) }"""


def half_weights(path):
    """Give the float16 weights of a model values of a usual size."""
    generator = np.random.default_rng(0)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = 0.2 * generator.standard_normal(tuple(tensor.dims))
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    onnx.save(model, path)
    return path


def inputs(seed):
    generator = np.random.default_rng(seed)
    return [
        {"x": generator.uniform(-1, 1, (1, 4, 8, 8)).astype(np.float16)}
        for _ in range(8)
    ]


def test_layers_of_float16_are_in_int8_and_the_ends_keep_their_type(tmp_path):
    path = half_weights(written(tmp_path, NET))
    held_out = inputs(1)
    expected = outputs(path, held_out[0])
    layers = write_in_int8(path, Int8Inputs(inputs(0), held_out, 100), ())
    assert layers.sites == ("w1", "w2")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    ends = (*model.graph.input, *model.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT16}
    stored = {tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.INT8 in stored
    assert TensorProto.FLOAT16 not in stored
    results = outputs(path, held_out[0])
    for one, other in zip(results, expected, strict=True):
        assert one.dtype == other.dtype == np.float16
        difference = np.linalg.norm((one - other).astype(np.float32))
        assert difference < 0.05 * np.linalg.norm(other.astype(np.float32))


def test_bodies_are_widened_with_what_they_read(tmp_path):
    text = """g (float16[2] x, bool c) => (float16[2] y)
    { y = If (c) <
        then_branch = t () => (float16[2] p) { p = Neg(x) },
        else_branch = e () => (float16[2] x_twice) { x_twice = Add(x, x) }> }"""
    path = written(tmp_path, text)
    values = {"x": np.array([1, 2], np.float16), "c": np.array(False)}
    model = onnx.load(path)
    widen(model)
    onnx.checker.check_model(model, full_check=True)
    [result] = outputs(written(tmp_path, model), values)
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, np.array([2, 4], np.float16))


def test_a_model_in_float32_and_one_with_functions_stay_as_they_are():
    function = helper.make_function("own", "f", ["a"], ["b"], [], [])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "g",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1])],
    )
    for model in (
        helper.make_model(graph, functions=[function]),
        helper.make_model(
            helper.make_graph(
                [helper.make_node("Neg", ["x"], ["y"])],
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            )
        ),
    ):
        before = model.SerializeToString()
        widen(model)
        assert model.SerializeToString() == before


def test_a_stored_output_keeps_its_type(tmp_path):
    """A detector may return its anchors, which its graph reads as well."""
    text = """g (float16[2] x) => (float16[2] y, float16[2] anchors) <float16[2] anchors> {
        y = Add(x, anchors) }"""
    path = written(tmp_path, text)
    values = {"x": np.array([1, 2], np.float16)}
    expected = outputs(path, values)
    model = onnx.load(path)
    widen(model)
    onnx.checker.check_model(model, full_check=True)
    results = outputs(written(tmp_path, model), values)
    for result, each in zip(results, expected, strict=True):
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, each, rtol=1e-3)

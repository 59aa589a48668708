"""Layers and the operators between them, written in int8."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, shape_inference
from support.onnx.text import model

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.int8 import quantise
from worker.engine.formats.onnx.int8.quantise import quantised

NET = """g (float[1, 4, 8, 8] x) => (float[1, 3, 8, 8] y)
<float[8, 4, 3, 3] w, float[8, 8, 1, 1] v, float[3, 8, 1, 1] u> {
    [first] a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [relu] b = Relu(a)
    [second] c = Conv(b, v)
    [other] d = Relu(c)
    [third] y = Conv(d, u) }"""
RANGES = dict.fromkeys("xabcdy", (-4.0, 4.0))


def written(nodes):
    return quantised(shape_inference.infer_shapes(model(NET)), RANGES, nodes)


def stored(proto):
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
    }


def test_weights_are_symmetric_with_a_scale_for_each_output_channel():
    tensors = stored(written(["first", "second", "third"]))
    weight = stored(model(NET))["w"]
    scales = np.abs(weight).max((1, 2, 3)) / 127
    np.testing.assert_allclose(tensors["w_scale"], scales, rtol=1e-5)
    integers = np.rint(weight / scales[:, None, None, None])
    np.testing.assert_array_equal(tensors["w_quantized"], integers)
    assert tensors["w_quantized"].dtype == np.int8
    assert not tensors["w_zero_point"].any()


def test_activations_are_unsigned_with_a_scale_for_each_tensor():
    tensors = stored(written(["first", "second", "third"]))
    assert tensors["x_scale"] == pytest.approx(8 / 255)
    assert tensors["x_zero_point"].dtype == np.uint8


def test_the_answers_are_not_rounded_to_8_bits():
    proto = written(["first", "second", "third"])
    producers = {node.output[0]: node.op_type for node in proto.graph.node}
    assert producers["y"] == "Conv"
    assert "y_scale" not in stored(proto)
    assert {"d_scale", "u_quantized"} <= stored(proto).keys()


def test_an_operator_beside_a_layer_in_float_stays():
    proto = written(["first", "second"])
    names = stored(proto)
    assert {"w_quantized", "v_quantized", "u"} <= names.keys()
    # the rectifier between both layers takes integers, and the one after them floats
    producers = {node.output[0]: node.op_type for node in proto.graph.node}
    inputs = {node.name: node.input[0] for node in proto.graph.node}
    assert producers[inputs["other"]] != "DequantizeLinear" or "c" in inputs["other"]
    assert producers[inputs["third"]] == "Relu"


POOLED = """g (float[1, 4, 8, 8] x) => (float[1, 3, 4, 4] y)
<float[8, 4, 3, 3] w, float[8, 8, 1, 1] v, float[3, 8, 1, 1] u> {
    [first] a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [relu] b = Relu(a)
    [pool] c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
    [second] d = Conv(c, v)
    [third] y = Conv(d, u) }"""


@pytest.mark.parametrize(
    ("nodes", "taken", "after"),
    [
        (["first", "second", "third"], "DequantizeLinear", "QuantizeLinear"),
        (["second", "third"], "Relu", "Clip"),
    ],
)
def test_a_pool_is_in_int8_where_the_layer_before_it_is(nodes, taken, after):
    proto = shape_inference.infer_shapes(model(POOLED))
    in_int8 = quantised(proto, RANGES, nodes)
    onnx.checker.check_model(in_int8)
    producers = {node.output[0]: node.op_type for node in in_int8.graph.node}
    [pool] = [node for node in in_int8.graph.node if node.name == "pool"]
    assert producers[pool.input[0]] == taken
    # the clip keeps the runtime from rounding before the pool
    [consumer] = [n for n in in_int8.graph.node if pool.output[0] in n.input]
    assert consumer.op_type == after


def test_no_inferred_shapes_and_no_marks_are_left():
    proto = written(["first"])
    assert not proto.graph.value_info
    assert not proto.metadata_props


def test_the_model_itself_stays():
    proto = shape_inference.infer_shapes(model(NET))
    before = proto.SerializeToString()
    quantised(proto, RANGES, ["first"])
    assert proto.SerializeToString() == before
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    assert kinds == {TensorProto.FLOAT}


def test_types_that_cannot_be_inferred_are_a_refusal(monkeypatch):
    def stumble(self):
        raise ValueError("no scale for w")

    monkeypatch.setattr(quantise.QDQQuantizer, "quantize_model", stumble)
    with pytest.raises(Refusal, match="no scale for w") as refused:
        written(["first"])
    assert refused.value.code == Code.MODEL_UNSUPPORTED

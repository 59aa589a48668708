"""Pools of floats before layers in int8."""

import numpy as np
import onnx
import onnxruntime as ort
from support.onnx.text import model

from worker.engine.formats.onnx.int8.float_pools import keep_pools_in_floats

NET = """g (float[1, 2, 4, 4] x) => (float[1, 2, 2, 2] y, float[1, 2, 1, 1] z)
<float s = {0.02}, uint8 o = {3}> {
    a = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    b = QuantizeLinear(a, s, o)
    y = DequantizeLinear(b, s, o)
    z = MaxPool <kernel_shape = [2, 2]> (y) }"""
PIXELS = {"x": np.linspace(-1, 3, 32, dtype=np.float32).reshape(1, 2, 4, 4)}


def kept(proto):
    keep_pools_in_floats(proto)
    return proto


def test_a_clip_is_between_a_pool_of_floats_and_its_rounding():
    nodes = {node.output[0]: node for node in kept(model(NET)).graph.node}
    clip = nodes[nodes["b"].input[0]]
    assert (clip.op_type, list(clip.input)) == ("Clip", ["a"])


def test_a_pool_in_8_bits_stays():
    net = NET.replace("z = MaxPool", "c = MaxPool").replace(
        "(y) }", "(y) d = QuantizeLinear(c, s, o) z = DequantizeLinear(d, s, o) }"
    )
    nodes = {node.output[0]: node for node in kept(model(net)).graph.node}
    assert nodes["d"].input[0] == "c"


def test_the_runtime_pools_floats_and_gives_the_same(tmp_path):
    outputs, orders = [], []
    for proto in (model(NET), kept(model(NET))):
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        session = ort.InferenceSession(
            proto.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        outputs.append(session.run(None, PIXELS))
        optimised = onnx.load(tmp_path / "optimised.onnx")
        orders.append([node.op_type for node in optimised.graph.node][:2])
    assert orders == [["QuantizeLinear", "MaxPool"], ["MaxPool", "QuantizeLinear"]]
    np.testing.assert_array_equal(outputs[0][0], outputs[1][0])

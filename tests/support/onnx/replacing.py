"""ONNX models with every site replaced, and checked against the originals."""

from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from support.engine.chains import split_exactly
from support.onnx.text import distance, model, outputs, written
from worker.engine.formats import open_model

TOLERANCE = 1e-5


X = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}


def names(values):
    return [value.name for value in values]


def one_layer(
    attributes, weight_shape, shape, has_bias, constant_nodes=False, op="Conv"
):
    """A model of one Conv or ConvTranspose whose weights are initializers or Constant nodes."""
    generator = np.random.default_rng(prod(weight_shape))
    weights = {"w": generator.standard_normal(weight_shape).astype(np.float32)}
    if has_bias:
        outputs = (
            weight_shape[0]
            if op == "Conv"
            else weight_shape[1] * attributes.get("group", 1)
        )
        weights["b"] = generator.standard_normal(outputs).astype(np.float32)
    proto = model("g (float[1] x) => (float[1] y) { }")
    for value, shown in (
        (proto.graph.input[0], shape),
        (proto.graph.output[0], (None,) * len(shape)),
    ):
        value.CopyFrom(
            helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shown)
        )
    for name, array in weights.items():
        tensor = numpy_helper.from_array(array, name)
        if constant_nodes:
            proto.graph.node.append(
                helper.make_node("Constant", [], [name], value=tensor)
            )
        else:
            proto.graph.initializer.append(tensor)
    proto.graph.node.append(helper.make_node(op, ["x", *weights], ["y"], **attributes))
    return proto


def replaced(tmp_path, proto, inputs, make=split_exactly, plus=0):
    """Replace every site that can be, and return the models before and after, checked for outputs
    that differ so.
    """
    before = written(tmp_path, proto)
    opened = open_model("onnx", before)
    for site in opened.count(opened.bind(None)).sites:
        if site.reason is None:
            opened.replace(site, make(opened.layer(site)))
    after = tmp_path / "after.onnx"
    opened.save(after)
    onnx.checker.check_model(str(before), full_check=True)
    onnx.checker.check_model(str(after), full_check=True)
    for actual, expected in zip(
        outputs(after, inputs), outputs(before, inputs), strict=True
    ):
        assert distance(actual, expected + plus) <= TOLERANCE
    return onnx.load(before), onnx.load(after)

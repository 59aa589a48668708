"""Shapes of values: declared, inferred and measured."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from support.onnx.text import model

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.shapes import (
    InputShapeError,
    declared_shapes,
    infer_shapes,
    measure_shapes,
    without_declared_shapes,
)

TEXT = """g (float[n, 3] x) => (float[7, 7] y) <float[3, 4] w> {
    t = MatMul(x, w)  y = Relu(t) }"""


def test_shapes_of_a_file_are_forgotten_and_follow_from_the_inputs():
    proto = model(TEXT)
    stale = helper.make_tensor_value_info("t", 1, [9, 9])
    proto.graph.value_info.append(stale)
    bare = without_declared_shapes(proto)
    assert declared_shapes(bare.graph) == {"x": None, "t": None, "y": None, "w": (3, 4)}
    assert declared_shapes(proto.graph)["t"] == (9, 9)
    inferred = infer_shapes(bare, {"x": (2, 3)})
    expected = {"x": (2, 3), "t": (2, 4), "y": (2, 4), "w": (3, 4)}
    assert declared_shapes(inferred.graph) == expected


def test_a_model_that_contradicts_itself_is_refused():
    proto = without_declared_shapes(model(TEXT))
    del proto.opset_import[:]
    with pytest.raises(Refusal, match="contradicts itself") as refused:
        infer_shapes(proto, {"x": (2, 3)})
    assert refused.value.code == Code.MODEL_INVALID


def test_a_body_knows_the_axes_of_the_graph_around_it():
    proto = model(
        """g (float[2, 1, 4] x, bool c) => (float y) <int64[1] axes> {
            y = If (c) <
                then_branch = yes () => (float t) { t = Squeeze(x, axes) },
                else_branch = no () => (float e) { e = Identity(x) } > }"""
    )
    axes = numpy_helper.from_array(np.array([1]), "axes")
    proto.graph.initializer[0].CopyFrom(axes)
    inferred = infer_shapes(without_declared_shapes(proto), {"x": (2, 1, 4)})
    bodies = {
        each.g.output[0].name: each.g for each in inferred.graph.node[0].attribute
    }
    assert declared_shapes(bodies["t"])["t"] == (2, 4)


def test_a_sparse_tensor_has_a_shape_and_an_empty_one_none():
    proto = model("g (float[2] x) => (float[0] y) { y = NonZero(x) }")
    sparse = proto.graph.sparse_initializer.add(dims=[5, 6])
    sparse.values.name = "s"
    shapes = declared_shapes(proto.graph)
    assert (shapes["s"], shapes["y"]) == ((5, 6), None)


def test_a_run_tells_the_shapes_that_depend_on_values(tmp_path):
    proto = model("g (float[n] x) => (float[m] y) { k = NonZero(x) y = Neg(x) }")
    inputs = {"x": np.array([1, 0, 2], np.float32)}
    shapes = measure_shapes(proto, ["k", "y"], inputs, tmp_path / "model.onnx")
    assert shapes == {"k": (1, 2), "y": (3,)}
    none = {"x": np.zeros(3, np.float32)}
    assert measure_shapes(proto, ["k"], none, tmp_path / "model.onnx") == {"k": (1, 0)}


def test_a_run_that_fails_tells_why(tmp_path):
    proto = model(TEXT.replace("[n, 3]", "[n, m]"))
    with pytest.raises(InputShapeError, match=r"(?i)mismatch|dimension"):
        measure_shapes(
            proto, ["t"], {"x": np.zeros((2, 5), np.float32)}, tmp_path / "model.onnx"
        )

"""The nodes of an execution path in the order of their graph, with how often each runs."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from support.onnx.text import model

from worker.engine.formats.onnx.profile.graph_uses import (
    IN_FUNCTION,
    SPARSE,
    editable_uses,
    path_uses,
)
from worker.engine.formats.onnx.profile.node_site import CHEAPER, IN_BRANCH
from worker.engine.formats.onnx.profile.node_use import NodeUse
from worker.engine.formats.onnx.shapes import InputShapeError

X = {"x": np.zeros((1, 3, 8, 8), np.float32)}


def uses_of(text, tmp_path):
    return list(path_uses(model(text), X, tmp_path / "model.onnx"))


def test_a_loops_body_runs_as_often_as_the_loop(tmp_path):
    uses = uses_of(
        """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) <float[3, 3, 1, 1] w> {
            n = Constant <value = int64 {5}> ()
            y = Loop (n, , x) <body = b (int64 i, bool go, float[1, 3, 8, 8] v) =>
                (bool on, float[1, 3, 8, 8] o) { on = Identity(go)  o = Conv(v, w) }> }""",
        tmp_path,
    )
    assert [(use.operator, use.runs) for use in uses] == [
        ("Constant", 1),
        ("Loop", 1),
        ("Identity", 5),
        ("Conv", 5),
    ]
    assert uses[-1].weight.origin == "w"
    assert uses[-1].reason is None


@pytest.mark.parametrize("place", ["an initializer", "a Constant"])
def test_a_product_with_a_sparse_matrix_says_that_its_weight_is_sparse(tmp_path, place):
    values = numpy_helper.from_array(np.ones(2, np.float32), "w")
    sparse = helper.make_sparse_tensor(
        values, numpy_helper.from_array(np.array([0, 9])), [8, 4]
    )
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 4] y) { y = MatMul(x, w) }"
    )
    if place == "an initializer":
        proto.graph.sparse_initializer.append(sparse)
    else:
        constant = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
        proto.graph.node.insert(0, constant)
    uses = list(path_uses(proto, X, tmp_path / "model.onnx"))
    assert [use.reason for use in uses if use.operator == "MatMul"] == [SPARSE]


def test_of_two_branches_the_dearer_one_runs(tmp_path):
    uses = uses_of(
        """g (float[1, 3, 8, 8] x, bool c) => (float[1, 4, 6, 6] y)
            <float[4, 3, 3, 3] w, float[4, 3, 1, 1] v> {
            y = If (c) <
                then_branch = yes () => (float t) { t = Conv(x, v) },
                else_branch = no () => (float e) { e = Conv(x, w) } > }""",
        tmp_path,
    )
    assert [(use.runs, use.reason) for use in uses] == [
        (1, None),
        (0, CHEAPER),
        (1, IN_BRANCH),
    ]


def test_a_shape_that_does_not_fit_is_found_before_the_model_runs(tmp_path):
    with pytest.raises(InputShapeError, match="2 channels"):
        uses_of(
            """g (float[1, 3, 8, 8] x) => (float y)
                <float[4, 2, 3, 3] w, float[1] n> {
                y = Conv(x, w)  k = NonZero(n)  z = MatMul(k, k) }""",
            tmp_path,
        )


def use(output, kind="Conv", reason=None):
    node = helper.make_node(kind, ["x", "w"], [output] if output else [])
    return NodeUse(node, None, {}, {"w": "of the copy"}, 1, reason)


def test_nodes_of_functions_stay_and_others_have_the_models_constants():
    uses = [use("y"), use("inner"), use("y", "Gemm"), use("z", reason="said"), use("")]
    edited = list(editable_uses(uses, {"y": "Conv"}, {"w": "of the model"}))
    reasons = [each.reason for each in edited]
    assert reasons == [None, IN_FUNCTION, IN_FUNCTION, "said", None]
    assert edited[0].constants == {"w": "of the model"}
    assert edited[1].constants == {"w": "of the copy"}

"""Weights after operators that are folded are replaced, and nothing of them is left."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx.replacing import X, names, one_layer, replaced
from support.onnx.text import model, written

from worker.engine.formats import open_model

BEHIND = {
    "Cast": ("c = Cast <to = 1> (h)", "y = Conv(x, c)", "h"),
    "Transpose": ("c = Transpose <perm = [3, 2, 0, 1]> (t)", "y = Conv(x, c)", "t"),
    "Reshape": (
        "n = Constant <value = int64[4] {4, 3, 3, -1}> () c = Reshape(m, n)",
        "y = Conv(x, c)",
        "m",
    ),
    "Reshape to a list without a tensor": (
        "n = Constant <value_ints = [4, 3, 3, -1]> () c = Reshape(m, n)",
        "y = Conv(x, c)",
        "m",
    ),
    "several": (
        "a = Identity(h) b = Cast <to = 1> (a) c = Identity(b)",
        "y = Conv(x, c)",
        "h",
    ),
    "Unsqueeze": (
        "a = Constant <value = int64[1] {0}> () c = Unsqueeze(l, a)",
        "z = Conv(x, c) y = Expand(z, o)",
        "l",
    ),
    "a shape": (
        "s = Constant <value = int64[4] {4, 3, 3, 3}> () "
        "c = ConstantOfShape <value = float[1] {0.5}> (s)",
        "y = Conv(x, c)",
        "s",
    ),
}


@pytest.mark.parametrize("kind", BEHIND)
def test_weights_behind_operators_that_can_be_computed_before_are_replaced_and_leave_nothing(
    tmp_path, kind
):
    nodes, used, source = BEHIND[kind]
    proto = model(f"""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y)
        <float16[4, 3, 3, 3] h, float[3, 3, 3, 4] t, float[4, 27] m, float[3, 3, 3] l, int64[4] o>
            {{
            {nodes} {used} }}""")
    for tensor in proto.graph.initializer:
        if tensor.name == "o":
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, 4, 6, 6]), "o"))
    _, after = replaced(tmp_path, proto, X)
    assert [node.op_type for node in after.graph.node if node.op_type != "Expand"] == [
        "Conv",
        "Conv",
    ]
    assert source not in names(after.graph.initializer)
    factors = [tensor for tensor in after.graph.initializer if "factor" in tensor.name]
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in factors)


def test_a_matrix_behind_a_transposition_is_shared_with_itself_as_it_is(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) <float[3, 3] w> {
        t = Transpose(w)  y = MatMul(x, w)  z = MatMul(y, t) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    reasons = {site.reason for site in opened.count(opened.bind(None)).sites}
    assert reasons == {"its weight is shared with nodes that use it differently"}


def test_equal_transpositions_of_one_matrix_are_one_site(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] z) <float[3, 3] w> {
        t = Transpose(w)  u = Transpose(w)  y = MatMul(x, t)  z = MatMul(y, u) }""")
    _, after = replaced(tmp_path, proto, {"x": np.ones((2, 3), np.float32)})
    assert [node.op_type for node in after.graph.node] == ["MatMul"] * 4
    assert len(after.graph.initializer) == 2


def test_quantised_weights_are_left_with_the_reason(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <int8[4, 3, 3, 3] w, float s,
        int8 z> {
        d = DequantizeLinear(w, s, z)  y = Conv(x, d) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    assert site.macs == 36 * 108
    assert site.reason == "its weight is quantised"


def test_constants_behind_identities_are_replaced_and_leave_nothing(tmp_path):
    proto = one_layer({}, (4, 3, 3, 3), (1, 3, 8, 8), True, constant_nodes=True)
    for name in "wb":
        proto.graph.node.insert(2, helper.make_node("Identity", [name], [name * 2]))
    proto.graph.node[-1].input[1:] = ["ww", "bb"]
    _, after = replaced(tmp_path, proto, X)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv"]

"""An Einsum that is a linear layer is replaced as one; any other is counted and stays."""

import pytest
from support.onnx.canonical import rewritten
from support.onnx.text import model


def einsum(equation, shape, weight, outputs):
    result = ", ".join(["n"] * outputs)
    return model(
        f"g (float[{shape}] x) => (float[{result}] y) <float[{weight}] w> "
        f'{{ y = Einsum <equation = "{equation}"> (x, w) }}'
    )


@pytest.mark.parametrize(
    ("equation", "shape", "weight", "outputs"),
    [
        ("abc,cd->abd", "2, 3, 8", "8, 10", 3),
        ("abc,dc->abd", "2, 3, 8", "10, 8", 3),
        ("abc,cde->abde", "2, 3, 8", "8, 2, 5", 4),
        ("abde,dec->abc", "2, 3, 2, 4", "2, 4, 10", 3),
        ("abde,cde->abc", "2, 3, 2, 4", "10, 2, 4", 3),
        ("abc,cde->adbe", "2, 3, 8", "8, 2, 5", 4),
        ("acb,dc->adb", "2, 8, 3", "10, 8", 3),
        ("dabe,ced->bac", "2, 3, 2, 4", "10, 4, 2", 3),
        ("...c,cd->...d", "2, 3, 8", "8, 10", 3),
    ],
)
def test_a_linear_layer_is_replaced(tmp_path, equation, shape, weight, outputs):
    [site], artifact = rewritten(tmp_path, einsum(equation, shape, weight, outputs))
    assert (site.op, site.reason, site.weight_shape) == ("MatMul", None, (10, 8))
    assert site.macs == 2 * 3 * 8 * 10
    assert [node.op_type for node in artifact.graph.node].count("MatMul") == 2


def test_the_weight_may_be_the_first_operand(tmp_path):
    proto = einsum("abc,dc->abd", "2, 3, 8", "10, 8", 3)
    [node] = proto.graph.node
    node.input[:] = ["w", "x"]
    node.attribute[0].s = b"dc,abc->abd"
    [site], artifact = rewritten(tmp_path, proto)
    assert (site.op, site.reason, site.macs) == ("MatMul", None, 2 * 3 * 8 * 10)
    assert [node.op_type for node in artifact.graph.node].count("MatMul") == 2


def test_a_first_operand_that_stays_is_a_weight(tmp_path):
    proto = einsum("acd,abc->abd", "2, 3, 8", "2, 8, 10", 3)
    proto.graph.node[0].input[:] = ["w", "x"]
    [site], _ = rewritten(tmp_path, proto)
    assert (site.reason, site.weight_shape) == ("it is an Einsum", (2, 8, 10))


def test_any_other_is_counted_and_stays(tmp_path):
    [site], artifact = rewritten(
        tmp_path, einsum("abc,acd->abd", "2, 3, 8", "2, 8, 10", 3)
    )
    assert (site.op, site.reason, site.macs) == (
        "Einsum",
        "it is an Einsum",
        2 * 3 * 8 * 10,
    )
    assert [node.op_type for node in artifact.graph.node] == ["Einsum"]

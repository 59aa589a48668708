"""An Einsum that is a linear layer is replaced as one; any other is counted and stays."""

import pytest
from support.onnx_canonical import rewritten
from support.onnx_text import model


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
    ],
)
def test_a_linear_layer_is_replaced(tmp_path, equation, shape, weight, outputs):
    [site], artifact = rewritten(tmp_path, einsum(equation, shape, weight, outputs))
    assert (site.op, site.reason, site.weight_shape) == ("MatMul", None, (10, 8))
    assert site.macs == 2 * 3 * 8 * 10
    assert [node.op_type for node in artifact.graph.node].count("MatMul") == 2


def test_any_other_is_counted_and_stays(tmp_path):
    [site], artifact = rewritten(tmp_path, einsum("abc,acd->abd", "2, 3, 8", "2, 8, 10", 3))
    assert (site.op, site.reason, site.macs) == ("Einsum", "it is an Einsum", 2 * 3 * 8 * 10)
    assert [node.op_type for node in artifact.graph.node] == ["Einsum"]

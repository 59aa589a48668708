"""ONNX Gemm and MatMul nodes with a stored matrix, read as linear layers and written back.

Source: the operators' specification, opset 7 to the newest that onnx knows.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from onnx import NodeProto

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import integer, number
from worker.engine.numerics.convolution import Array, Convolution

RUN_TIME_BIAS = "its bias is computed at run time"
ROWWISE_BIAS = "its bias is not the same for every row"


def is_transposed(node: NodeProto) -> bool:
    """Return whether the node takes its right operand as `(n, c)`, as a `Layer` holds it."""
    return node.op_type == "Gemm" and bool(integer(node, "transB", 0))


def geometry(node: NodeProto, weight_shape: Sequence[int]) -> Convolution:
    """Return the layer that a node with a right operand of this shape, of two axes, is."""
    inputs, outputs = reversed(weight_shape) if is_transposed(node) else weight_shape
    return Convolution((outputs, inputs), (), (), ())


def why_not(node: NodeProto, fixed: Mapping[str, Constant], outputs: int) -> str | None:
    """Say why a node with a constant right operand cannot become several, or return None where it can."""
    bias = node.input[2] if len(node.input) > 2 else ""
    if not bias:
        return None
    if bias not in fixed:
        return RUN_TIME_BIAS
    sizes = fixed[bias].shape
    return (
        None
        if prod(sizes) == 1 or (sizes[-1] == outputs and prod(sizes) == outputs)
        else ROWWISE_BIAS
    )


def arrays(node: NodeProto, operand: Array, addend: Array | None) -> tuple[Array, Array | None]:
    """Return a layer's weight `(n, c)` and bias `(n,)` from what the node takes; Gemm's alpha and beta are folded in.

    >>> from onnx import helper
    >>> arrays(helper.make_node("Gemm", ["x", "b", "c"], ["y"], alpha=2.0), np.ones((1, 2)), np.array(3.0))
    (array([[2.],
           [2.]]), array([3., 3.]))
    """
    weight = np.ascontiguousarray(operand if is_transposed(node) else operand.T)
    if node.op_type != "Gemm":
        return weight, None
    bias = None
    if addend is not None:
        bias = np.broadcast_to(addend.reshape(-1), weight.shape[:1]) * addend.dtype.type(
            number(node, "beta", 1.0)
        )
    alpha = number(node, "alpha", 1.0)
    return weight if alpha == 1 else weight * weight.dtype.type(alpha), bias

"""ONNX Gemm and MatMul nodes with a stored matrix: read as linear layers.

Source: the operators' specification, from opset 7 to the newest that onnx knows.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from onnx import NodeProto

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import input_name, integer, number
from worker.engine.numerics.convolution import Array, Convolution

RUN_TIME_BIAS = "its bias is computed at run time"
ROWWISE_BIAS = "its bias is not the same for every row"


def is_transposed(node: NodeProto) -> bool:
    """Return whether the node's right operand has the shape `(n, c)` of a `Layer`'s weight.

    >>> from onnx import helper
    >>> is_transposed(helper.make_node("Gemm", ["x", "w"], ["y"], transB=1))
    True
    """
    return node.op_type == "Gemm" and bool(integer(node, "transB", 0))


def geometry(node: NodeProto, weight_shape: Sequence[int]) -> Convolution:
    """Return the linear layer of a node with a right operand of this shape, of two axes.

    >>> from onnx import helper
    >>> geometry(helper.make_node("MatMul", ["x", "w"], ["y"]), (3, 5)).weight_shape
    (5, 3)
    """
    # A layer's weight is (outputs, inputs); ONNX multiplies from the left.
    if is_transposed(node):
        outputs, inputs = weight_shape
    else:
        inputs, outputs = weight_shape
    return Convolution((outputs, inputs), (), (), ())


def why_not(node: NodeProto, known: Mapping[str, Constant], outputs: int) -> str | None:
    """Return why a node with a stored matrix cannot be replaced by several; None where it can.

    `known` holds the graph's constants, `outputs` is the number of the layer's outputs.
    """
    bias = input_name(node, 2)
    if not bias:
        return None
    if bias not in known:
        return RUN_TIME_BIAS
    shape = known[bias].shape
    elements = prod(shape)
    # One number is broadcast to all outputs.
    if elements == 1:
        return None
    if elements != outputs or shape[-1] != outputs:
        return ROWWISE_BIAS
    return None


def arrays(
    node: NodeProto, operand: Array, addend: Array | None
) -> tuple[Array, Array | None]:
    """Return a layer's weight `(n, c)` and bias `(n,)`, with Gemm's alpha and beta folded in.

    `operand` is the node's right operand, `addend` what it adds.

    >>> from onnx import helper
    >>> node = helper.make_node("Gemm", ["x", "b", "c"], ["y"], alpha=2.0)
    >>> arrays(node, np.ones((1, 2)), np.array(3.0))
    (array([[2.],
           [2.]]), array([3., 3.]))
    """
    oriented = operand if is_transposed(node) else operand.T
    weight = np.ascontiguousarray(oriented)
    if node.op_type != "Gemm":
        return weight, None
    bias = None
    if addend is not None:
        beta_attribute = number(node, "beta", 1.0)
        beta = addend.dtype.type(beta_attribute)
        outputs = weight.shape[0]
        flat = addend.reshape(-1)
        bias = np.broadcast_to(flat, (outputs,)) * beta
    alpha = number(node, "alpha", 1.0)
    # A factor of 1 must not copy the weight.
    if alpha != 1:
        scale = weight.dtype.type(alpha)
        weight = weight * scale
    return weight, bias

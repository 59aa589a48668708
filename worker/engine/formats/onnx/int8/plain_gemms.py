"""Gemms with their factors in weights and biases, and with a number of the bias for each output.

ONNX Runtime's quantiser reads a bias of one axis alone, and its scale for one with a factor is not
the one that the runtime computes with.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from worker.engine.formats.onnx.graph import (
    fresh_name,
    input_name,
    integer,
    names,
    number,
    operator,
    uses,
)

_FACTORS = ("alpha", "beta")


def make_gemms_plain(model: ModelProto) -> None:
    """Multiply the factors of the main graph's Gemms into their weights and biases, in place.

    Biases are written once for each output. Gemms that add a matrix, or values that are not stored,
    stay as they are.
    """
    stored = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    for node in model.graph.node:
        if operator(node) == "Gemm" and input_name(node, 1) in stored:
            _make_plain(model, node, stored)


def has_plain_bias(node: NodeProto, shape: tuple[int, ...] | None) -> bool:
    """Whether the quantiser can read the bias of a Gemm: `shape` is None where it is not stored."""
    is_factored = any(number(node, factor, 1.0) != 1 for factor in _FACTORS)
    return not is_factored and (shape is None or len(shape) == 1)


def _make_plain(
    model: ModelProto, node: NodeProto, stored: dict[str, TensorProto]
) -> None:
    weight = numpy_helper.to_array(stored[node.input[1]])
    outputs = weight.shape[0 if integer(node, "transB", 0) else 1]
    name = input_name(node, 2)
    bias: NDArray[np.float32] | None = None
    if name:
        if name not in stored:
            return
        bias = numpy_helper.to_array(stored[name])
        # one row: a column has a number for each row of the product
        if bias.shape and bias.size not in (1, bias.shape[-1]):
            return
        bias = np.broadcast_to(bias.reshape(-1), (outputs,))
    alpha, beta = (number(node, factor, 1.0) for factor in _FACTORS)
    if alpha != 1:
        _store(model, node, 1, weight * np.float32(alpha), stored)
    if bias is not None and (beta != 1 or stored[name].dims != [outputs]):
        _store(model, node, 2, bias * np.float32(beta), stored)
    kept = [each for each in node.attribute if each.name not in _FACTORS]
    del node.attribute[:]
    node.attribute.extend(kept)


def _store(
    model: ModelProto,
    node: NodeProto,
    position: int,
    values: NDArray[np.float32],
    stored: dict[str, TensorProto],
) -> None:
    """Put new values in the place of a node's stored input; what else reads it keeps it."""
    name = node.input[position]
    if uses(model.graph)[name] > 1:
        name = fresh_name(f"{name}_plain", names(model.graph))
        node.input[position] = name
        stored[name] = model.graph.initializer.add()
    stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))

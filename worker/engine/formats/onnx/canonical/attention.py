"""ONNX Runtime's Attention with projections, taken apart: a linear layer, and the heads.

The projections of query, key and value are one MatMul and one sum; MultiHeadAttention follows.

Source: onnxruntime's ContribOperators.md.
"""

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import (
    fresh_name,
    input_name,
    integer,
    integers,
    own_opset,
)

_WEIGHT, _BIAS, _MASK, _PAST, _ATTENTION_BIAS, _PAST_LENGTH = range(1, 7)
_MATRIX_AXES = 2
# Masks of these ranks mean the same to both operators; others may have another layout.
_RAW_MASK_AXES = 2
_SHARED_ATTRIBUTES = ("num_heads", "unidirectional", "mask_filter_value", "scale")
# Its sizes are an input from this opset on.
_FIRST_OPSET_OF_SPLIT_WITH_INPUT = 13


def take_apart(
    node: NodeProto, model: ModelProto, known: Mapping[str, Constant], used: set[str]
) -> list[NodeProto]:
    """Return the nodes in the place of an Attention; none where it has a past or another mask.

    Masks are a matrix of batch and columns, or the lengths of the batch.
    """
    weight = known.get(input_name(node, _WEIGHT))
    if (
        weight is None
        or len(weight.shape) != _MATRIX_AXES
        or not _is_plain(node, model.graph)
    ):
        return []
    equal_widths = (weight.shape[1] // 3,) * 3
    widths = integers(node, "qkv_hidden_sizes") or equal_widths
    output = node.output[0]

    def fresh(part: str) -> str:
        return fresh_name(f"{output}_{part}", used)

    projected = fresh("projected")
    operands = list(node.input[:2])
    nodes = [helper.make_node("MatMul", operands, [projected], name=node.name)]
    bias = input_name(node, _BIAS)
    if bias:
        summed = fresh("biased")
        addition = helper.make_node("Add", [projected, bias], [summed])
        nodes.append(addition)
        projected = summed
    parts = [fresh(part) for part in ("query", "key", "value")]
    split = _split(model, projected, parts, widths, fresh("widths"))
    nodes.append(split)
    heads = NodeProto(op_type="MultiHeadAttention", domain=node.domain)
    heads.name = f"{node.name}_heads" if node.name else ""
    mask = input_name(node, _MASK)
    attention_bias = input_name(node, _ATTENTION_BIAS)
    heads.input.extend([*parts, "", mask, attention_bias])
    heads.output.append(output)
    shared = [each for each in node.attribute if each.name in _SHARED_ATTRIBUTES]
    heads.attribute.extend(shared)
    return [*nodes, heads]


def _is_plain(node: NodeProto, graph: GraphProto) -> bool:
    """Return whether an Attention has no past, no rotation, and a mask that the heads take too."""
    if (
        input_name(node, _PAST)
        or input_name(node, _PAST_LENGTH)
        or any(node.output[1:])
    ):
        return False
    if integer(node, "do_rotary", 0):
        return False
    mask = input_name(node, _MASK)
    return (
        not mask
        or _declared_axes(graph, mask) == _RAW_MASK_AXES
        or _has_lengths(graph, mask)
    )


def _has_lengths(graph: GraphProto, mask: str) -> bool:
    """Return whether a mask is the lengths of the batch, as BERT's optimisers compute it.

    Other lists may have starts and ends, which the heads do not take. Sums are over the rows of a
    matrix: Attention takes no list as long as the columns are.
    """
    for node in graph.node:
        if mask not in node.output:
            continue
        if node.op_type == "EmbedLayerNormalization":
            return True
        matrix = _declared_axes(graph, input_name(node, 0)) == _RAW_MASK_AXES
        is_sum = node.op_type == "ReduceSum" and not integer(node, "keepdims", 1)
        return is_sum and matrix
    return False


def _declared_axes(graph: GraphProto, name: str) -> int | None:
    """Return the number of axes that a graph declares for a value; None where it does not."""
    sources = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"
    }
    declared = {}
    for value in (*graph.input, *graph.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            declared[value.name] = len(tensor.shape.dim)
    source = sources.get(name, "")
    return declared.get(name, declared.get(source))


def _split(
    model: ModelProto, value: str, parts: list[str], widths: tuple[int, ...], name: str
) -> NodeProto:
    """Return the Split of a value's last axis into parts of these widths."""
    if own_opset(model) < _FIRST_OPSET_OF_SPLIT_WITH_INPUT:
        return helper.make_node("Split", [value], parts, axis=-1, split=list(widths))
    array = np.array(widths, np.int64)
    sizes = numpy_helper.from_array(array, name)
    model.graph.initializer.append(sizes)
    return helper.make_node("Split", [value, name], parts, axis=-1)

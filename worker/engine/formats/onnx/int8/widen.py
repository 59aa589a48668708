"""A model in float16 as one in float32, whose inputs and outputs stay in float16.

ONNX Runtime computes layers in int8 between tensors of float32 alone.
"""

from collections.abc import Iterable
from math import prod

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from worker.engine.formats.onnx.graph import (
    all_graphs,
    all_nodes,
    fresh_name,
    main_tensors,
    names,
    nested_tensors,
)

_HALF_BYTES = 2
_TYPES = ("to", "dtype", "output_dtype")
"""The attributes that name the type of an output."""


def bytes_of_halves(model: ModelProto) -> int:
    """Return the bytes of the float16 tensors that `widen` makes twice as large."""
    if model.functions:
        return 0
    tensors = (*main_tensors(model), *nested_tensors(model))
    halves = [each for each in tensors if each.data_type == TensorProto.FLOAT16]
    return sum(_HALF_BYTES * prod(tensor.dims) for tensor in halves)


def widen(model: ModelProto) -> None:
    """Turn float16 into float32 within a model, in place.

    Models with functions of their own stay as they are: their nodes are not in the graph.
    """
    if model.functions:
        return
    for tensors in (main_tensors(model), nested_tensors(model)):
        for tensor in tensors:
            _widen_tensor(tensor)
    for node in all_nodes(model.graph.node):
        for attribute in node.attribute:
            _widen_type(attribute)
    inputs = [value.name for value in model.graph.input if _is_half(value)]
    outputs = [value.name for value in model.graph.output if _is_half(value)]
    _widen_values(model.graph.value_info)
    _, *bodies = all_graphs(model.graph)
    for body in bodies:
        _widen_values((*body.value_info, *body.input, *body.output))
    _cast_ends(model.graph, inputs, outputs)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_type(attribute: AttributeProto) -> None:
    if attribute.name in _TYPES and attribute.i == TensorProto.FLOAT16:
        attribute.i = TensorProto.FLOAT


def _widen_values(values: Iterable[ValueInfoProto]) -> None:
    for value in values:
        if _is_half(value):
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _is_half(value: ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT16)


def _cast_ends(graph: GraphProto, inputs: list[str], outputs: list[str]) -> None:
    """Cast a graph's inputs to float32, and its outputs back to float16."""
    used_names = names(graph)
    stored = {tensor.name for tensor in graph.initializer}
    parameters = stored & {value.name for value in graph.input}
    # an input with a stored value is a parameter, whose type has changed with it
    renamed = {
        name: fresh_name(f"{name}_float32", used_names)
        for name in dict.fromkeys((*inputs, *outputs))
        if name not in parameters
    }
    _rename(graph, renamed)
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    first = [
        _cast(name, renamed[name], TensorProto.FLOAT)
        for name in inputs
        if name in renamed
    ]
    last = [
        _cast(renamed[name], name, TensorProto.FLOAT16)
        for name in outputs
        if name in renamed and name not in inputs
    ]
    nodes = [*first, *graph.node, *last]
    graph.ClearField("node")
    graph.node.extend(nodes)
    _widen_values(value for value in graph.input if value.name in stored)


def _rename(graph: GraphProto, renamed: dict[str, str]) -> None:
    """Rename values of a graph in its nodes, to any depth, and not in its own signature."""
    for node in all_nodes(graph.node):
        for each in (node.input, node.output):
            for position, name in enumerate(each):
                each[position] = renamed.get(name, name)
    _, *bodies = all_graphs(graph)
    for body in bodies:
        for value in body.output:
            value.name = renamed.get(value.name, value.name)


def _cast(name: str, output: str, data_type: int) -> NodeProto:
    return helper.make_node("Cast", [name], [output], f"{output}_cast", to=data_type)

"""Single nodes that torch cannot compute: run by ONNX Runtime as models of one node.

The results have no gradients.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from convpress.refusal import Refusal
from worker.engine.formats.onnx.graph import operator, stored_names, subgraphs
from worker.engine.formats.onnx.runtime.session import session
from worker.engine.formats.onnx.types import ValueType, type_proto
from worker.engine.numerics import device
from worker.engine.program import NoProgramError

# Parts of the names of types that the runtime does not accept or return as arrays.
_NO_ARRAYS = (
    "bfloat16",
    "float8",
    "float4",
    "int4",
    "int2",
    "complex",
    "map(",
    "opaque",
    "sparse",
)


def needed_values(node: NodeProto) -> tuple[str, ...]:
    """Return the values that a node needs, each once: inputs, and those its subgraphs use.

    >>> needed_values(NodeProto(op_type="Clip", input=["x", "", "most", "x"]))
    ('x', 'most')
    """
    needed = dict.fromkeys(name for name in node.input if name)
    for graph in subgraphs(node):
        needed.update(dict.fromkeys(_outer_values(graph)))
    return tuple(needed)


def _outer_values(graph: GraphProto) -> Iterator[str]:
    """Yield the values that a subgraph uses and does not define."""
    own = stored_names(graph)
    own.update(value.name for value in graph.input)
    for node in graph.node:
        own.update(node.output)
    for node in graph.node:
        for name in needed_values(node):
            if name not in own:
                yield name
    for value in graph.output:
        if value.name and value.name not in own:
            yield value.name


def runtime_function(
    node: NodeProto,
    stored: Mapping[str, TensorProto],
    types: Mapping[str, ValueType],
    model: ModelProto,
    source: Path,
) -> Callable[..., tuple[Any, ...]]:
    """Return a function that runs a node of `model` in ONNX Runtime.

    Its arguments are the values that the node needs and that are not `stored`; its results are the
    node's outputs. As everywhere in a program, half precision is float32 outside of the node.

    Raises:
        NoProgramError: the runtime cannot run the node alone, or its values are no arrays.
    """
    needed = needed_values(node)
    inputs = [name for name in needed if name not in stored]
    outputs = [name for name in node.output if name]
    own_types = [types[name] for name in (*inputs, *outputs)]
    _require_arrays(node, own_types)
    alone = _model_of(node, inputs, outputs, stored, types)
    alone.ir_version = model.ir_version
    alone.opset_import.extend(model.opset_import)
    try:
        serialised = alone.SerializeToString()
        opened = session(serialised, source)
    except Refusal as error:
        raise NoProgramError(
            f"{operator(node)} cannot be run alone: {error.detail}"
        ) from error
    half = {name for name in inputs if "float16" in types[name].text}

    def run(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - tensors, texts, and lists of either
        arrays = {}
        named_values = zip(inputs, values, strict=True)
        for name, value in named_values:
            arrays[name] = _array(value, half=name in half)
        results = opened.run(outputs, arrays)
        return tuple(_value(result) for result in results)

    return run


def _require_arrays(node: NodeProto, types: Iterable[ValueType]) -> None:
    """Require that values of these types can be passed to the runtime.

    Raises:
        NoProgramError: one cannot.
    """
    for value_type in types:
        if any(part in value_type.text for part in _NO_ARRAYS):
            raise NoProgramError(
                f"{operator(node)} works on {value_type.text}, which cannot be passed as an array"
            )


def _model_of(
    node: NodeProto,
    inputs: Iterable[str],
    outputs: Iterable[str],
    stored: Mapping[str, TensorProto],
    types: Mapping[str, ValueType],
) -> ModelProto:
    """Return a model of one node, with the stored tensors that it needs."""
    model = ModelProto()
    graph = model.graph
    graph.name = "single"
    graph.node.append(node)
    for name in inputs:
        graph.input.add(name=name, type=type_proto(types[name].text))
    for name in needed_values(node):
        if name in stored:
            weight = graph.initializer.add()
            weight.CopyFrom(stored[name])
            weight.name = name
    for name in outputs:
        graph.output.add(name=name)
    return model


def _array(value: Any, *, half: bool) -> Any:  # noqa: ANN401 - see run
    """Return a value as the runtime takes it."""
    if isinstance(value, list):
        return [_array(each, half=half) for each in value]
    if not isinstance(value, torch.Tensor):
        return value
    array = value.detach().contiguous().numpy(force=True)
    if half:
        return array.astype(np.float16)
    return array


def _value(result: Any) -> Any:  # noqa: ANN401 - see run
    """Return the runtime's result as a program has it."""
    if isinstance(result, list):
        return [_value(each) for each in result]
    if not isinstance(result, np.ndarray) or result.dtype == object:
        return result
    if result.dtype == np.float16:
        single = result.astype(np.float32)
        return device.placed(torch.from_numpy(single))
    # numpy has two names for 64-bit integers in C, of which torch knows one.
    array = result.view(result.dtype.str)
    return device.placed(torch.from_numpy(array))

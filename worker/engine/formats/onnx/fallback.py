"""One node of an ONNX graph as a function: a model of that node alone, run by ONNX Runtime, without gradients."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from convpress.refusal import Refusal
from worker.engine.formats.onnx.graph import operator, subgraphs
from worker.engine.formats.onnx.runner import session
from worker.engine.formats.onnx.types import Kind, type_proto
from worker.engine.numerics import device
from worker.engine.program import NoProgramError

_NOT_HANDED_ON = (
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
"""Parts of the names of types that the runtime does not give out, or not take, as arrays."""


def needs(node: NodeProto) -> tuple[str, ...]:
    """Return the values that a node takes, each once: its inputs, and what its subgraphs take from around it."""
    inner = (name for graph in subgraphs(node) for name in _free(graph))
    return tuple(dict.fromkeys(name for name in (*node.input, *inner) if name))


def single(
    node: NodeProto,
    stored: Mapping[str, TensorProto],
    kinds: Mapping[str, Kind],
    model: ModelProto,
    source: Path,
) -> Callable[..., tuple[Any, ...]]:
    """Return a function from the values that a node of `model` needs and that are not `stored` to those it gives.

    Values are as a program has them: half precision is float32 outside of the node.

    Raises:
        NoProgramError: the runtime cannot take or give the node's values, or not run the node alone.
    """
    alone = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    alone.graph.name = "single"
    alone.graph.node.append(node)
    taken = [name for name in needs(node) if name not in stored]
    given = [name for name in node.output if name]
    for name in (*taken, *given):
        if any(part in kinds[name].said for part in _NOT_HANDED_ON):
            raise NoProgramError(
                f"{operator(node)} works on {kinds[name].said}, which cannot be handed on by itself"
            )
    for name in taken:
        alone.graph.input.add(name=name, type=type_proto(kinds[name].said))
    for name in needs(node):
        if name in stored:
            weight = alone.graph.initializer.add()
            weight.CopyFrom(stored[name])
            weight.name = name
    for name in given:
        alone.graph.output.add(name=name)
    try:
        opened = session(alone.SerializeToString(), source)
    except Refusal as error:
        raise NoProgramError(f"{operator(node)} cannot be run by itself: {error.detail}") from error
    half = {name for name in taken if "float16" in kinds[name].said}

    def run(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - tensors, texts, and lists of either
        arrays = {
            name: _array(value, name in half) for name, value in zip(taken, values, strict=True)
        }
        return tuple(_value(found) for found in opened.run(given, arrays))

    return run


def _free(graph: GraphProto) -> list[str]:
    """Return what a subgraph uses and does not define."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(sparse.values.name for sparse in graph.sparse_initializer)
    own.update(name for node in graph.node for name in node.output)
    used = [name for node in graph.node for name in needs(node)] + [
        value.name for value in graph.output
    ]
    return [name for name in used if name not in own]


def _array(value: Any, half: bool) -> Any:  # noqa: ANN401 - see run
    if isinstance(value, list):
        return [_array(each, half) for each in value]
    if not isinstance(value, torch.Tensor):
        return value
    array = value.detach().contiguous().numpy(force=True)
    return array.astype(np.float16) if half else array


def _value(found: Any) -> Any:  # noqa: ANN401 - see run
    if isinstance(found, list):
        return [_value(each) for each in found]
    if not isinstance(found, np.ndarray) or found.dtype == object:
        return found
    if found.dtype == np.float16:
        return device.placed(torch.from_numpy(found.astype(np.float32)))
    return device.placed(
        torch.from_numpy(found.view(found.dtype.str))
    )  # torch knows uint64, but not C's other name for it

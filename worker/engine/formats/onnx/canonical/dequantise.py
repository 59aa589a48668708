"""A quantised model (QDQ) as the float model that it stands for.

Weights become the floats that DequantizeLinear makes of them. A pair of QuantizeLinear and
DequantizeLinear of one scale becomes a Clip to the values that the integers hold: quantisers leave
rectifiers out where the integers end at zero, and networks are trained with the saturation. Only
the rounding goes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.canonical.parameters import store_dequantised_weights
from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import (
    DEQUANTISE,
    QUANTISE,
    all_nodes,
    fresh_name,
    input_name,
    names,
    own_opset,
    uses,
)
from worker.engine.model import Restored

_LEAST_OPSET = 11
"""The first version in which the bounds of a Clip are inputs, as those of a pair are."""

_INTEGERS: Mapping[int, type[np.integer[Any]]] = {
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
}
_FLOATS: Mapping[int, type[np.floating[Any]]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
}


class _Scale(NamedTuple):
    """How one tensor is quantised: the types of integers and floats, scale, and zero point."""

    data_type: int
    float_type: int
    scale: float
    zero: int

    def bounds(self) -> tuple[float, float]:
        """Return the least and the largest value that the integers hold."""
        limits = np.iinfo(_INTEGERS[self.data_type])
        step = np.float32(self.scale)
        return (
            float(step * np.float32(limits.min - self.zero)),
            float(step * np.float32(limits.max - self.zero)),
        )


def dequantise(model: ModelProto, source: Path) -> Restored | None:
    """Turn a model's quantised weights and tensors back into floats, in place.

    `source` is the file that the skeleton was read from. None where no layer has a quantised
    weight, or where its floats are not known before a run.
    """
    if own_opset(model) < _LEAST_OPSET:
        return None
    weights = store_dequantised_weights(model, source)
    if not weights:
        return None
    return Restored(weights, _clip_pairs(model.graph, source))


def _clip_pairs(graph: GraphProto, source: Path) -> int:
    """Put a Clip in the place of each pair of one scale; return the number of pairs."""
    known = constants(graph)
    counts = uses(graph)
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    results = {value.name for value in graph.output}
    used_names = names(graph)
    clips: dict[str, NodeProto] = {}
    replaced: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != QUANTISE or node.input[0] in known:
            continue
        scale = _scale(node, known, source)
        ends = readers.get(node.output[0], [])
        # a body or an output may read the integers too
        if scale is None or not ends or counts[node.output[0]] != len(ends):
            continue
        if any(
            end.op_type != DEQUANTISE or _scale(end, known, source) != scale
            for end in ends
        ):
            continue
        clips[node.output[0]] = _clip(node, scale, graph, used_names)
        replaced += [node, *ends]
    _replace(graph, clips, results)
    _drop_unused(graph, replaced)
    return len(clips)


def _scale(
    node: NodeProto, known: Mapping[str, Constant], source: Path
) -> _Scale | None:
    """Return how a node quantises; None where that is not one known scale for the whole tensor."""
    scale = known.get(node.input[1])
    zero = known.get(input_name(node, 2))
    if scale is None or scale.data_type not in _FLOATS or np.prod(scale.shape) != 1:
        return None
    # without a zero point integers are unsigned, and attributes may say otherwise
    if zero is None or zero.data_type not in _INTEGERS or np.prod(zero.shape) != 1:
        return None
    return _Scale(
        zero.data_type,
        scale.data_type,
        float(scale.array(source).reshape(())),
        int(zero.array(source).reshape(())),
    )


def _clip(
    node: NodeProto,
    scale: _Scale,
    graph: GraphProto,
    used_names: set[str],
) -> NodeProto:
    """Return the Clip in the place of a pair, and store its bounds."""
    # not the name of the pair's output, which a quantiser would give to another tensor again
    output = fresh_name(f"{node.input[0]}_clipped", used_names)
    bounds = []
    for value in scale.bounds():
        name = fresh_name(f"{output}_bound", used_names)
        array = np.array(value, _FLOATS[scale.float_type])
        graph.initializer.append(numpy_helper.from_array(array, name))
        bounds.append(name)
    return helper.make_node("Clip", [node.input[0], *bounds], [output], output)


def _replace(
    graph: GraphProto, clips: Mapping[str, NodeProto], results: set[str]
) -> None:
    """Put the Clips, by the integers that they replace, in the places of their pairs."""
    nodes = list(graph.node)
    graph.ClearField("node")
    renamed: dict[str, str] = {}
    for node in nodes:
        if node.op_type == QUANTISE and node.output[0] in clips:
            graph.node.append(clips[node.output[0]])
            continue
        clip = clips.get(input_name(node, 0)) if node.op_type == DEQUANTISE else None
        if clip is None:
            graph.node.append(node)
            continue
        value, other = clip.output[0], node.output[0]
        if other in results:
            graph.node.append(helper.make_node("Identity", [value], [other]))
        else:
            renamed[other] = value
    for node in all_nodes(graph.node):
        for position, name in enumerate(node.input):
            node.input[position] = renamed.get(name, name)
    described = [info for info in graph.value_info if info.name not in clips]
    graph.ClearField("value_info")
    graph.value_info.extend(described)


def _drop_unused(graph: GraphProto, replaced: Sequence[NodeProto]) -> None:
    """Remove the scales and zero points that nothing uses any more."""
    counts = uses(graph)
    unused: set[str] = set()
    for node in replaced:
        unused.update(name for name in node.input[1:] if not counts[name])
    for position in reversed(range(len(graph.node))):
        if unused.issuperset(graph.node[position].output):
            del graph.node[position]
    for tensors in (graph.initializer, graph.input):
        for position in reversed(range(len(tensors))):
            if tensors[position].name in unused:
                del tensors[position]

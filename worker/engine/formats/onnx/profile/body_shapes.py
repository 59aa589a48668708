"""The shapes of values in the bodies of loops, where inference does not find them.

Inference knows no shape of what a Loop carries from run to run. For one run of the model, a body
returns the shapes as well; they count where they are the same in every run of the body.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import fresh_name, names, operator, subgraphs
from worker.engine.formats.onnx.profile.loop_lengths import MOST_RUNS
from worker.engine.formats.onnx.profile.node_use import cost_operands
from worker.engine.formats.onnx.profile.trip_count import trip_count
from worker.engine.formats.onnx.shapes import (
    InputShapeError,
    Shape,
    Shapes,
    declared_shapes,
    measure_values,
)
from worker.engine.model import Inputs

_LOOPS = ("Loop", "Scan")
# A Scan may say for each of its outputs where its elements go.
_LISTS_OF_OUTPUTS = ("scan_output_axes", "scan_output_directions")


def measure_body_shapes(
    model: ModelProto,
    known: Mapping[str, Constant],
    shapes: Shapes,
    lengths: Mapping[str, int],
    inputs: Inputs,
    source: Path,
) -> dict[str, Shape]:
    """Return the shapes that the layers in loops of the main graph lack, by name.

    `known` and `shapes` are those of the main graph, and `lengths` those of its loops that a run
    showed. There are none where the runtime cannot run the probe, as where the number of axes
    changes from run to run.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model for any inputs.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    used = names(probe.graph)
    outputs: dict[str, str] = {}
    for node in probe.graph.node:
        # ONNX Runtime crashes where outputs are left out before others.
        if operator(node) not in _LOOPS or not all(node.output):
            continue
        runs = trip_count(node, known, shapes, lengths) or 0
        if 0 < runs <= MOST_RUNS:
            outputs |= _return_shapes(node, used)
    if not outputs:
        return {}
    try:
        results = measure_values(probe, list(outputs.values()), inputs, source)
    except InputShapeError:
        return {}
    measured = {}
    for value, output in outputs.items():
        sizes = {tuple(row) for row in results[output].tolist()}
        if len(sizes) == 1:
            measured[value] = sizes.pop()
    return measured


def _return_shapes(node: NodeProto, used: set[str]) -> dict[str, str]:
    """Let a loop return the shapes that its body lacks; return its outputs by value."""
    body = next(subgraphs(node))
    outputs = {}
    for value in _unknown_operands(body):
        inner = fresh_name(f"{value}_shape", used)
        shape = helper.make_node("Shape", [value], [inner])
        body.node.append(shape)
        info = helper.make_tensor_value_info(inner, TensorProto.INT64, None)
        body.output.append(info)
        outputs[value] = fresh_name(f"{value}_shapes", used)
        node.output.append(outputs[value])
    for attribute in node.attribute:
        if attribute.name in _LISTS_OF_OUTPUTS:
            attribute.ints.extend([0] * len(outputs))
    return outputs


def _unknown_operands(body: GraphProto) -> Iterable[str]:
    """Return the operands of counted nodes that a body defines without a shape, sorted."""
    own = declared_shapes(body)
    operands: set[str] = set()
    for node in body.node:
        operands.update(cost_operands(node))
    return sorted(name for name in operands if name in own and own[name] is None)

"""The limits of loops that the shapes of the inputs decide, as in a loop over the rows of an input.

Exporters of scripted code write them as Shape, Gather and the like in front of a Loop.
"""

from collections.abc import Mapping
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import (
    all_nodes,
    input_name,
    operator,
    stored_names,
    subgraphs,
)
from worker.engine.formats.onnx.scalars import scalar
from worker.engine.formats.onnx.shapes import Shapes, measure_values
from worker.engine.model import Inputs

_OF_A_SHAPE = ("Shape", "Size")
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform"})


def loop_limits(
    model: ModelProto,
    known: Mapping[str, Constant],
    shapes: Shapes,
    inputs: Inputs,
    source: Path,
) -> dict[str, Constant]:
    """Return the limits that follow from `shapes` alone by name, from one run of the model.

    `known` holds the constants of the graph.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model for any inputs.
        InputShapeError: the runtime cannot run the model on these inputs.
    """
    loops = [node for node in all_nodes(model.graph.node) if operator(node) == "Loop"]
    limits = {input_name(node, 0) for node in loops} - {""}
    unknown = [name for name in sorted(limits) if scalar(name, known) is None]
    open_limits = [name for name in unknown if _follows(name, model.graph, shapes)]
    if not open_limits:
        return {}
    arrays = measure_values(model, open_limits, inputs, source)
    return {
        name: Constant(numpy_helper.from_array(array, name), name)
        for name, array in arrays.items()
    }


def _follows(name: str, graph: GraphProto, shapes: Shapes) -> bool:
    """Return whether a value of the main graph depends on stored values and known shapes alone."""
    producers: dict[str, NodeProto] = {}
    for node in graph.node:
        producers.update(dict.fromkeys(node.output, node))
    stored = stored_names(graph)
    pending = {name}
    seen = {"", *stored}
    while pending - seen:
        current = min(pending - seen)
        seen.add(current)
        producer = producers.get(current)
        # Inputs differ from call to call, and a body may read any value.
        if producer is None or any(subgraphs(producer)):
            return False
        if operator(producer) in _RANDOM:
            return False
        if operator(producer) not in _OF_A_SHAPE:
            pending.update(producer.input)
        elif shapes.get(input_name(producer, 0)) is None:
            return False
    return True

"""The shapes of all tensors in an ONNX graph for given input shapes: inferred, then measured.

Where inference does not find a shape, the model is run once and the shape is measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, helper, shape_inference

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.constants import constants
from worker.engine.formats.onnx.functions import inline_all_functions
from worker.engine.formats.onnx.graph import all_graphs, fresh_name, names
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, message, session
from worker.engine.formats.onnx.storage.tensors import is_external
from worker.engine.model import Inputs

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape | None]
"""Shapes by the names of values; None where a shape is not known.

Inference gives 0 for a size that it does not know. Only a run shows a size that is 0.
"""


class InputShapeError(ValueError):
    """The model cannot take inputs of these shapes."""


def without_declared_shapes(model: ModelProto) -> ModelProto:
    """Return a copy with local functions inlined, and no shapes but those of the inputs.

    The shapes in a file may stem from other inputs.

    Raises:
        Refusal: `model_invalid` for local functions that cannot be inlined.
    """
    copy = ModelProto()
    copy.CopyFrom(inline_all_functions(model))
    for graph in all_graphs(copy.graph):
        graph.ClearField("value_info")
        for value in graph.output:
            # Clearing a field of a message that is missing would create the message.
            if value.type.tensor_type.HasField("shape"):
                value.type.tensor_type.ClearField("shape")
    return copy


def infer_shapes(model: ModelProto, shapes: Mapping[str, Shape]) -> ModelProto:
    """Return a copy with inputs of these shapes, and all shapes that follow from them.

    The model comes from `without_declared_shapes`.

    Raises:
        Refusal: `model_invalid` for nodes that no shapes fit.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in shapes:
            element = value.type.tensor_type.elem_type
            fixed = helper.make_tensor_type_proto(element, shapes[value.name])
            value.type.CopyFrom(fixed)
    _copy_integers_into_bodies(copy.graph)
    # Sizes that are computed from shapes, as exporters write them, need data_prop.
    try:
        return shape_inference.infer_shapes(copy, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise Refusal(
            Code.MODEL_INVALID,
            f"the model contradicts itself: {error}",
            field=FIELD,
            expected="a graph that follows ONNX's rules",
            got="a graph that does not",
        ) from error


def _copy_integers_into_bodies(graph: GraphProto) -> None:
    """Give bodies copies of the integers of the graphs around them, such as axes.

    Inference does not look for constants outside of a body.
    """
    listed = {}
    for name, constant in constants(graph).items():
        tensor = constant.tensor
        is_integers = tensor.data_type == TensorProto.INT64 and not is_external(tensor)
        if is_integers and not constant.folds:
            listed[name] = tensor
    # The first graph is the main one.
    _, *bodies = all_graphs(graph)
    for body in bodies:
        inputs: set[str] = set()
        own = {tensor.name for tensor in body.initializer}
        for node in body.node:
            inputs.update(node.input)
            own.update(node.output)
        needed = inputs - own
        shared = needed & listed.keys()
        for name in sorted(shared):
            copy = body.initializer.add()
            copy.CopyFrom(listed[name])
            copy.name = name


def declared_shapes(graph: GraphProto) -> dict[str, Shape | None]:
    """Return the shapes in a graph's messages, for all values that it defines itself."""
    shapes: dict[str, Shape | None] = {}
    for node in graph.node:
        unknown = dict.fromkeys(node.output)
        shapes.update(unknown)
    values = (*graph.input, *graph.output, *graph.value_info)
    for value in values:
        shapes[value.name] = _shape_of(value.type)
    for tensor in graph.initializer:
        shapes[tensor.name] = _positive(tensor.dims)
    for sparse in graph.sparse_initializer:
        shapes[sparse.values.name] = _positive(sparse.dims)
    return shapes


def measure_shapes(
    model: ModelProto, values: Sequence[str], inputs: Inputs, source: Path
) -> dict[str, Shape]:
    """Run a model once on these inputs and return the shapes of values of its main graph.

    A detector that finds nothing has values of 0 rows. The run returns shapes alone, so that
    nothing large is copied.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model for any inputs.
        InputShapeError: the runtime cannot run the model on these inputs.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    used = names(graph)
    outputs = [fresh_name(f"shape_of_{value}", used) for value in values]
    pairs = zip(values, outputs, strict=True)
    for value, output in pairs:
        node = helper.make_node("Shape", [value], [output])
        graph.node.append(node)
    results = measure_values(probe, outputs, inputs, source)
    shapes = {}
    pairs = zip(values, outputs, strict=True)
    for value, output in pairs:
        shapes[value] = tuple(results[output].tolist())
    return shapes


def measure_values(
    model: ModelProto, values: Sequence[str], inputs: Inputs, source: Path
) -> dict[str, NDArray[np.int64]]:
    """Run a model once on these inputs and return values of its main graph, of type int64.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model for any inputs.
        InputShapeError: the runtime cannot run the model on these inputs.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    graph.ClearField("output")
    for value in values:
        info = helper.make_tensor_value_info(value, TensorProto.INT64, None)
        graph.output.append(info)
    serialised = probe.SerializeToString()
    opened = session(serialised, source)
    try:
        results = opened.run(list(values), dict(inputs))
    except RUNTIME_ERRORS as error:
        raise InputShapeError(message(error)) from error
    return dict(zip(values, results, strict=True))


def _shape_of(value_type: TypeProto) -> Shape | None:
    """Return the shape in a type; None where a size is missing."""
    tensor_type = value_type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    return _positive([size.dim_value for size in tensor_type.shape.dim])


def _positive(sizes: Sequence[int]) -> Shape | None:
    """Return sizes as a shape; None where one is 0, which also stands for unknown.

    >>> _positive([2, 3]), _positive([2, 0]), _positive([])
    ((2, 3), None, ())
    """
    if all(size > 0 for size in sizes):
        return tuple(sizes)
    return None

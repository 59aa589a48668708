"""The shape of every tensor in an ONNX graph for given input shapes: inferred, and measured where inference stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto, TypeProto, helper, shape_inference

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.constants import constants
from worker.engine.formats.onnx.file import is_external
from worker.engine.formats.onnx.functions import without_functions
from worker.engine.formats.onnx.graph import all_graphs, fresh_name, names
from worker.engine.formats.onnx.runner import RUNTIME_ERRORS, message, session
from worker.engine.model import Inputs

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape | None]
"""By value name; None where it is not known, or where a size is 0, which no product of a network has when it runs."""


class Unfit(ValueError):
    """The model cannot take inputs of these shapes."""


def prepared(model: ModelProto) -> ModelProto:
    """Return a copy with local functions inlined, and without what the model says of shapes behind its inputs.

    That may stem from other inputs than those to come.

    Raises:
        Refusal: `model_invalid` for local functions that cannot be inlined.
    """
    copy = ModelProto()
    copy.CopyFrom(without_functions(model))
    for graph in all_graphs(copy.graph):
        graph.ClearField("value_info")
        for value in graph.output:
            if value.type.tensor_type.HasField(
                "shape"
            ):  # merely clearing it would make a type where there is none
                value.type.tensor_type.ClearField("shape")
    return copy


def inferred(model: ModelProto, shapes: Mapping[str, Shape]) -> ModelProto:
    """Return a copy of a prepared model with its inputs fixed to these shapes and all that follows inferred.

    Raises:
        Refusal: `model_invalid` for nodes that no shapes fit.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in shapes:
            fixed = helper.make_tensor_type_proto(
                value.type.tensor_type.elem_type, shapes[value.name]
            )
            value.type.CopyFrom(fixed)
    _tell_bodies(copy.graph)
    try:
        return shape_inference.infer_shapes(copy, data_prop=True)
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise _invalid(f"the model contradicts itself: {error}") from error


def _tell_bodies(graph: GraphProto) -> None:
    """Give bodies copies of the whole numbers around them, such as axes: inference does not look for these there."""
    listed = {
        name: constant.tensor
        for name, constant in constants(graph).items()
        if not constant.steps
        and constant.tensor.data_type == TensorProto.INT64
        and not is_external(constant.tensor)
    }
    for body in list(all_graphs(graph))[1:]:
        own = {output for node in body.node for output in node.output} | {
            tensor.name for tensor in body.initializer
        }
        taken = {name for node in body.node for name in node.input} - own
        for name in sorted(taken & listed.keys()):
            body.initializer.add().CopyFrom(listed[name])
            body.initializer[-1].name = name


def known(graph: GraphProto) -> dict[str, Shape | None]:
    """Return the shapes that a graph tells, of every value that it defines (not those of its subgraphs)."""
    shapes: dict[str, Shape | None] = {name: None for node in graph.node for name in node.output}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = _shape(value.type)
    shapes.update((tensor.name, _positive(tensor.dims)) for tensor in graph.initializer)
    shapes.update(
        (sparse.values.name, _positive(sparse.dims)) for sparse in graph.sparse_initializer
    )
    return shapes


def measured(
    model: ModelProto, values: Sequence[str], inputs: Inputs, source: Path
) -> dict[str, Shape | None]:
    """Return the shapes that values of the main graph have when a prepared model is run once on these inputs.

    Only shapes come out of the run, so nothing large does.

    Raises:
        Refusal: `model_invalid` where the runtime refuses the model whatever its inputs.
        Unfit: the runtime refuses to run the model on these inputs.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    taken = names(probe.graph)
    outputs = [fresh_name(f"shape_of_{value}", taken) for value in values]
    probe.graph.node.extend(
        helper.make_node("Shape", [value], [output])
        for value, output in zip(values, outputs, strict=True)
    )
    probe.graph.ClearField("output")
    probe.graph.output.extend(
        helper.make_tensor_value_info(output, TensorProto.INT64, None) for output in outputs
    )
    opened = session(probe.SerializeToString(), source)
    try:
        found = opened.run(outputs, dict(inputs))
    except RUNTIME_ERRORS as error:
        raise Unfit(message(error)) from error
    return {value: _positive(shape.tolist()) for value, shape in zip(values, found, strict=True)}


def _shape(kind: TypeProto) -> Shape | None:
    if not kind.tensor_type.HasField("shape"):
        return None
    return _positive([size.dim_value for size in kind.tensor_type.shape.dim])


def _positive(sizes: Sequence[int]) -> Shape | None:
    return tuple(sizes) if all(size > 0 for size in sizes) else None


def _invalid(detail: str) -> Refusal:
    return Refusal(
        Code.MODEL_INVALID,
        detail,
        field=FIELD,
        expected="a graph that keeps to ONNX's rules",
        got="a graph that does not",
    )

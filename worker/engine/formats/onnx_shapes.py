"""The shape of every tensor in an ONNX graph for given input shapes: inferred, and measured where inference stops."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, helper, inliner, shape_inference

from contract.refusal import Refusal
from worker.engine.formats.onnx_graph import all_nodes, fresh_name, names, subgraphs
from worker.engine.formats.onnx_runtime import RUNTIME_ERRORS, message, session

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape | None]
"""By value name; None where it is not known, or where a size is 0, which no product of a network has when it runs."""


class Unfit(ValueError):
    """The model cannot take inputs of these shapes."""


def inferred(model: ModelProto, shapes: Mapping[str, Shape]) -> ModelProto:
    """Return a copy with the inputs fixed to these shapes, local functions inlined and all that follows inferred.

    What the model itself says of shapes behind its inputs is forgotten first: it may stem from other inputs.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = inliner.inline_local_functions(copy)
    for value in copy.graph.input:
        if value.name in shapes:
            sizes = [TypeProto.Tensor().shape.Dimension(dim_value=size) for size in shapes[value.name]]
            value.type.tensor_type.shape.ClearField("dim")
            value.type.tensor_type.shape.dim.extend(sizes)
    for graph in (copy.graph, *(graph for node in all_nodes(copy.graph.node) for graph in subgraphs(node))):
        graph.ClearField("value_info")
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
    return shape_inference.infer_shapes(copy, data_prop=True)


def known(graph: GraphProto) -> dict[str, Shape | None]:
    """Return the shapes that a graph tells, of every value that it defines (not those of its subgraphs)."""
    shapes: dict[str, Shape | None] = {name: None for node in graph.node for name in node.output}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = _shape(value.type)
    shapes.update((tensor.name, _positive(tensor.dims)) for tensor in graph.initializer)
    shapes.update((sparse.values.name, _positive(sparse.dims)) for sparse in graph.sparse_initializer)
    return shapes


def measured(model: ModelProto, values: Sequence[str], source: Path) -> dict[str, Shape | None]:
    """Return the shapes that values of the main graph have when the model is run once, on ones.

    The model's inputs must be fixed, as `inferred` leaves them. Only shapes come out, so nothing large does.

    Raises:
        Unfit: the runtime refuses to run the model on them.
    """
    probe = ModelProto()
    probe.CopyFrom(model)
    taken = names(probe.graph)
    outputs = [fresh_name(f"shape_of_{value}", taken) for value in values]
    probe.graph.node.extend(
        helper.make_node("Shape", [value], [output]) for value, output in zip(values, outputs, strict=True)
    )
    probe.graph.ClearField("output")
    probe.graph.output.extend(helper.make_tensor_value_info(output, TensorProto.INT64, None) for output in outputs)
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _ones(value.type) for value in model.graph.input if value.name not in initialized}
    try:
        found = session(probe.SerializeToString(), source).run(outputs, inputs)
    except Refusal as error:
        raise Unfit(error.detail) from error
    except RUNTIME_ERRORS as error:
        raise Unfit(message(error)) from error
    return {value: _positive(shape.tolist()) for value, shape in zip(values, found, strict=True)}


def _shape(kind: TypeProto) -> Shape | None:
    if not kind.tensor_type.HasField("shape"):
        return None
    return _positive([size.dim_value for size in kind.tensor_type.shape.dim])


def _ones(kind: TypeProto) -> NDArray[np.generic]:
    dtype = helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
    return np.ones([size.dim_value for size in kind.tensor_type.shape.dim], dtype)


def _positive(sizes: Sequence[int]) -> Shape | None:
    return tuple(sizes) if all(size > 0 for size in sizes) else None

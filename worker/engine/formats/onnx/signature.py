"""The signature of an ONNX graph: its inputs and outputs, and arrays for its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, TensorShapeProto, TypeProto, ValueInfoProto, helper

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import stored_names
from worker.engine.formats.onnx.index_rows import index_rows
from worker.engine.model import TensorSpec


def input_specs(graph: GraphProto) -> tuple[TensorSpec, ...]:
    """Return the inputs of a graph, without the weights among them.

    Raises:
        Refusal: `model_unsupported` where one is no tensor, `model_invalid` where its elements have
            no type.
    """
    # Up to IR version 3, weights are listed among the inputs.
    weights = stored_names(graph)
    inputs = [value for value in graph.input if value.name not in weights]
    rows = index_rows(graph)
    return tuple(replace(_spec(value), rows=rows.get(value.name)) for value in inputs)


def output_specs(graph: GraphProto) -> tuple[TensorSpec, ...]:
    """Return the outputs of a graph.

    Raises:
        Refusal: `model_invalid` where the elements of one have no type.
    """
    return tuple(_output_spec(value) for value in graph.output)


def ones(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.generic]]:
    """Return inputs of these shapes: ones, and the bound values of whole numbers."""
    inputs: dict[str, NDArray[np.generic]] = {}
    for spec in specs:
        shape = shapes[spec.name]
        stated = spec.stated(shape) if shape else None
        if stated is None:
            axes = spec.axes(shape)
            dtype = np.dtype(spec.dtype)
            stated = np.ones(axes, dtype)
        inputs[spec.name] = stated
    return inputs


def _spec(value: ValueInfoProto) -> TensorSpec:
    """Return a graph's input or output; sizes that are written as 0, -1 or ? are not known.

    Raises:
        Refusal: `model_unsupported` where it is no tensor, `model_invalid` where its elements have
            no type.
    """
    kind = value.type.WhichOneof("value")
    if kind not in ("tensor_type", None):
        raise Refusal(
            Code.MODEL_UNSUPPORTED,
            f"the input {value.name!r} is no tensor; export the model with one input for each "
            "tensor of it",
            field=FIELD,
            expected="inputs that are tensors",
            got=kind,
        )
    tensor = value.type.tensor_type
    if tensor.elem_type not in helper.get_all_tensor_dtypes():
        raise Refusal(
            Code.MODEL_INVALID,
            f"the model does not say the element type of {value.name!r}",
            field=FIELD,
            expected="inputs and outputs with an element type",
            got=f"element type {tensor.elem_type}",
        )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, dtype, None)
    sizes = tuple(_size(dim) for dim in tensor.shape.dim)
    return TensorSpec(value.name, dtype, sizes)


def _output_spec(value: ValueInfoProto) -> TensorSpec:
    """Return a graph's output; one that is no tensor has no shape, and the type of its numbers.

    Raises:
        Refusal: `model_invalid` where its elements have no type.
    """
    kind = value.type
    while kind.WhichOneof("value") not in ("tensor_type", None):
        kind = _content_type(kind)
    if kind is value.type:
        return _spec(value)
    inner = ValueInfoProto(name=value.name, type=kind)
    return replace(_spec(inner), shape=None)


def _content_type(kind: TypeProto) -> TypeProto:
    """Return the type of the items of a sequence or a map, or of an optional value.

    That of a sparse tensor is the type of a tensor of its elements.
    """
    if kind.HasField("sequence_type"):
        return kind.sequence_type.elem_type
    if kind.HasField("map_type"):
        return kind.map_type.value_type
    if kind.HasField("optional_type"):
        return kind.optional_type.elem_type
    return helper.make_tensor_type_proto(kind.sparse_tensor_type.elem_type, None)


def _size(dim: TensorShapeProto.Dimension) -> int | str | None:
    """Return a size: a number, the symbol that the model gives it, or None where unknown."""
    if dim.dim_value > 0:
        return dim.dim_value
    is_symbol = any(character.isalpha() for character in dim.dim_param)
    return dim.dim_param if is_symbol else None

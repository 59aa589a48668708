"""The type of every value in an ONNX graph, as ONNX Runtime infers it."""

from pathlib import Path
from typing import Any, NamedTuple

from onnx import ModelProto, TensorProto, TypeProto

from worker.engine.formats.onnx.runtime.session import session


class ValueType(NamedTuple):
    """A value's type as the runtime writes it (`tensor(float16)`), and its number of axes.

    `rank` is None where the number of axes is not known.
    """

    text: str
    rank: int | None

    @property
    def element(self) -> int | None:
        """ONNX's number of the element type; None for values that are no tensors."""
        inner = _argument(self.text, "tensor")
        if inner is None:
            return None
        return TensorProto.DataType.Value(inner.upper())


def value_types(model: ModelProto, source: Path) -> dict[str, ValueType]:
    """Return the types of all inputs, stored tensors and node outputs of a skeleton's main graph.

    The runtime loads the model once, with every node output as an output of the graph. It does not
    run it.

    Raises:
        Refusal: `model_invalid` where the runtime cannot load the model.
    """
    graph = model.graph
    probe = ModelProto()
    probe.CopyFrom(model)
    probe.graph.ClearField("output")
    for name in _node_outputs(model):
        probe.graph.output.add(name=name)
    serialised = probe.SerializeToString()
    opened = session(serialised, source)
    # Later entries replace earlier ones: a stored tensor knows its rank for certain.
    types: dict[str, ValueType] = {}
    values = (*opened.get_outputs(), *opened.get_inputs())
    for value in values:
        types[value.name] = _runtime_type(value)
    for tensor in graph.initializer:
        axes = len(tensor.dims)
        types[tensor.name] = _stored_type(tensor, axes)
    for sparse in graph.sparse_initializer:
        sparse_axes = len(sparse.dims)
        types[sparse.values.name] = _stored_type(sparse.values, sparse_axes)
    return types


def _node_outputs(model: ModelProto) -> dict[str, None]:
    """Return the outputs of a model's nodes, each once and in order."""
    outputs: dict[str, None] = {}
    for node in model.graph.node:
        outputs.update(dict.fromkeys(name for name in node.output if name))
    return outputs


def _runtime_type(value: Any) -> ValueType:  # noqa: ANN401 - the runtime ships no types
    # The runtime gives an empty shape both to scalars and where it does not know the axes.
    return ValueType(value.type, len(value.shape) or None)


def _stored_type(tensor: TensorProto, rank: int) -> ValueType:
    """Return the type of a stored tensor with this number of axes."""
    element = TensorProto.DataType.Name(tensor.data_type).lower()
    return ValueType(f"tensor({element})", rank)


def type_proto(text: str) -> TypeProto:
    """Return ONNX's message for a type as the runtime writes it.

    Raises:
        ValueError: for a type other than tensors, sequences and optionals.

    >>> nested = type_proto("seq(tensor(int64))").sequence_type.elem_type
    >>> nested.tensor_type.elem_type == TensorProto.INT64
    True
    """
    proto = TypeProto()
    if (inner := _argument(text, "tensor")) is not None:
        element = inner.upper()
        proto.tensor_type.elem_type = TensorProto.DataType.Value(element)
    elif (inner := _argument(text, "seq")) is not None:
        proto.sequence_type.elem_type.CopyFrom(type_proto(inner))
    elif (inner := _argument(text, "optional")) is not None:
        proto.optional_type.elem_type.CopyFrom(type_proto(inner))
    else:
        raise ValueError(f"values of type {text} cannot be passed between steps")
    return proto


def _argument(text: str, constructor: str) -> str | None:
    """Return the text within `constructor(...)`; None for another constructor.

    >>> _argument("seq(tensor(int64))", "seq")
    'tensor(int64)'
    """
    if not text.startswith(f"{constructor}("):
        return None
    return text[len(constructor) + 1 : -1]

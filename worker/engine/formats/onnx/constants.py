"""Values of an ONNX graph that are known before it runs: stored tensors, and folded ones.

A few operators are folded: those that change a tensor's layout or its element type, and
ConstantOfShape, which makes a tensor from a shape.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.graph import (
    DEQUANTISE,
    FLOATS,
    input_name,
    integer,
    integers,
    operator,
    subgraphs,
    tensor_of,
)
from worker.engine.formats.onnx.storage import tensors

_UNARY = ("Identity", "Cast", "Transpose", "Flatten")
_WITH_INTEGERS = ("Reshape", "Squeeze", "Unsqueeze")
_FILL = "ConstantOfShape"
FOLDED = ("Constant", *_UNARY, *_WITH_INTEGERS, _FILL)
"""The operators whose values may be known before a graph runs."""
_NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""The attributes in which a Constant holds numbers without a tensor, with their types."""

# Shapes and lists of axes are short; a longer list is data.
_LONGEST_LIST = 16


class Fold(NamedTuple):
    """An operator that is folded, with its list of integers: a shape, or axes."""

    node: NodeProto
    integers: tuple[int, ...] | None


@dataclass(frozen=True)
class Constant:
    """A stored tensor, and the operators between it and the value, in order.

    `origin` is the name of the stored value: values with one origin share a weight.
    """

    tensor: TensorProto
    origin: str
    folds: tuple[Fold, ...] = ()

    @property
    def identity(self) -> Hashable:
        """A key that equal values have in common."""
        operators = []
        for node, listed in self.folds:
            attributes = tuple(
                attribute.SerializeToString() for attribute in node.attribute
            )
            operators.append((node.op_type, attributes, listed))
        return self.origin, tuple(operators)

    @property
    def is_quantised(self) -> bool:
        """Whether it is stored as scaled integers; `array` does not support these."""
        return any(node.op_type == DEQUANTISE for node, _ in self.folds)

    @property
    def data_type(self) -> int:
        """ONNX's number of the element type."""
        for node, _ in reversed(self.folds):
            if node.op_type == "Cast":
                return integer(node, "to", TensorProto.FLOAT)
            if node.op_type == _FILL:
                value = tensor_of(node, "value")
                if value is None:
                    return TensorProto.FLOAT
                return value.data_type
        return self.tensor.data_type

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; no element is read for it."""
        dims = tuple(self.tensor.dims)
        if not self.folds:
            return dims
        fills = [node.op_type == _FILL for node, _ in self.folds]
        if any(fills):
            content = numpy_helper.to_array(self.tensor)
            array = _apply(content, self.folds)
            return array.shape
        # Untouched memory stands for the elements; a cast would touch all of it.
        untouched = np.empty(dims, np.int8)
        empty = _apply(untouched, self.folds, cast=False)
        return empty.shape

    def array(self, source: Path) -> NDArray[np.generic]:
        """Return the elements; large ones are mapped from `source`, the file of the graph.

        Raises:
            Refusal: `model_invalid` where the data does not fill its shape.
        """
        elements = tensors.mapped(self.tensor, source)
        # Arithmetic would copy an unaligned array in every operation: copy it once.
        if not elements.flags.aligned:
            elements = tensors.array(self.tensor, source)
        return _apply(elements, self.folds)


def constants(graph: GraphProto) -> dict[str, Constant]:
    """Return the constants of a graph and of its bodies by name; names must be unique.

    From IR version 4 on, an initializer that is also an input is only a default. It counts as
    constant too: nobody is expected to pass weights.

    >>> node = helper.make_node("Transpose", ["w"], ["t"])
    >>> weight = TensorProto(name="w", dims=[2, 3], data_type=TensorProto.FLOAT)
    >>> known = constants(GraphProto(node=[node], initializer=[weight]))
    >>> known["t"].shape, known["t"].origin
    ((3, 2), 'w')
    """
    known: dict[str, Constant] = {}
    _collect(graph, known)
    return known


def _collect(graph: GraphProto, known: dict[str, Constant]) -> None:
    """Add the constants of a graph and of its bodies to those that are known."""
    for tensor in graph.initializer:
        known[tensor.name] = Constant(tensor, tensor.name)
    for node in graph.node:
        for body in subgraphs(node):
            _collect(body, known)
        try:
            constant = _fold(node, known)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError):
            # ONNX Runtime refuses contradictory nodes, with a better message.
            continue
        if constant is not None:
            known[node.output[0]] = constant


def _fold(node: NodeProto, known: dict[str, Constant]) -> Constant | None:
    """Return the value of a node; None where it is not known."""
    if len(node.output) != 1:
        return None
    output = node.output[0]
    kind = operator(node)
    if kind == "Constant":
        value = _value_of(node)
        if value is None:
            return None
        return Constant(value, output)
    source = known.get(input_name(node, 0))
    if source is None:
        return None
    origin = source.origin
    listed = None
    if kind in _WITH_INTEGERS:
        listed = _listed(node, known)
        if listed is None:
            return None
    elif kind == _FILL:
        if _short_list(source) is None:
            return None
        origin = output
    elif not _folds_alone(node):
        return None
    folds = source.folds
    # A copy is the same value by another name: exporters write one for each layer that shares it.
    if kind != "Identity":
        folds = (*folds, Fold(node, listed))
    constant = Constant(source.tensor, origin, folds)
    # Empty values are no weights.
    if np.prod(constant.shape) <= 0:
        return None
    return constant


def _value_of(node: NodeProto) -> TensorProto | None:
    """Return the value of a Constant; None where it is text, sparse, or that of a function's call.

    >>> node = helper.make_node("Constant", [], ["k"], value_ints=[4, -1])
    >>> numpy_helper.to_array(_value_of(node))
    array([ 4, -1])
    """
    for attribute in node.attribute:
        if attribute.name in _NUMBERS and not attribute.ref_attr_name:
            numbers = helper.get_attribute_value(attribute)
            array = np.array(numbers, _NUMBERS[attribute.name])
            return numpy_helper.from_array(array)
    return tensor_of(node, "value")


def _folds_alone(node: NodeProto) -> bool:
    """Return whether a node is folded that needs nothing but its first input."""
    kind = operator(node)
    if kind == "Cast":
        return integer(node, "to", 0) in FLOATS
    return kind in _UNARY or kind == DEQUANTISE


def _listed(node: NodeProto, known: dict[str, Constant]) -> tuple[int, ...] | None:
    """Return the shape of a Reshape, or the axes of a Squeeze or Unsqueeze."""
    operand_name = input_name(node, 1)
    operand = known.get(operand_name)
    if operand is not None:
        return _short_list(operand)
    # Older opsets have an attribute.
    name = "shape" if operator(node) == "Reshape" else "axes"
    return integers(node, name)


def _short_list(constant: Constant) -> tuple[int, ...] | None:
    """Return a short list of integers that is stored as it is; None for all else."""
    tensor = constant.tensor
    if constant.folds or tensors.is_external(tensor):
        return None
    if tensor.data_type != TensorProto.INT64 or len(tensor.dims) != 1:
        return None
    if tensor.dims[0] > _LONGEST_LIST:
        return None
    return tuple(numpy_helper.to_array(tensor).tolist())


def _apply(
    array: NDArray[np.generic], folds: tuple[Fold, ...], *, cast: bool = True
) -> NDArray[np.generic]:
    """Return the array after the folded operators, in order; `cast=False` leaves casts out."""
    for node, listed in folds:
        if node.op_type == "Cast":
            if cast:
                array = array.astype(_cast_type(node))
        elif node.op_type == "Transpose":
            array = array.transpose(integers(node, "perm"))
        elif node.op_type == "Flatten":
            axis = integer(node, "axis", 1)
            leading = array.shape[:axis]
            rows = int(np.prod(leading))
            array = array.reshape(rows, -1)
        elif node.op_type == "Squeeze":
            array = array.squeeze(listed)
        elif node.op_type == _FILL:
            # One element stands for all, however large the shape is.
            shape = tuple(array.tolist())
            array = np.broadcast_to(_filler(node), shape)
        # Those that follow need their list; without one they change nothing.
        elif listed is None:
            continue
        elif node.op_type == "Reshape":
            sizes = _resolved_shape(listed, array.shape)
            array = array.reshape(sizes)
        elif node.op_type == "Unsqueeze":
            array = np.expand_dims(array, listed)
    return array


def _cast_type(node: NodeProto) -> np.dtype[np.generic]:
    """Return numpy's type for the target of a Cast."""
    return helper.tensor_dtype_to_np_dtype(integer(node, "to", TensorProto.FLOAT))


def _resolved_shape(listed: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Return the shape of a Reshape, in which 0 stands for the size of the input's axis.

    >>> _resolved_shape((0, -1), (2, 3, 4))
    [2, -1]
    """
    resolved = list(listed)
    for axis, size in enumerate(listed):
        if size == 0:
            resolved[axis] = shape[axis]
    return resolved


def _filler(node: NodeProto) -> NDArray[np.generic]:
    """Return the value of a ConstantOfShape, without axes."""
    value = tensor_of(node, "value")
    if value is None:
        return np.zeros((), np.float32)
    return numpy_helper.to_array(value).reshape(-1)[:1].reshape(())

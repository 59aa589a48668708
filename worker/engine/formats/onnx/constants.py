"""What of an ONNX graph is known before it runs: stored tensors, and what a few operators make of them.

Those operators change how a tensor is laid out or of which type it is; one more makes a tensor out of a shape.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from worker.engine.formats.onnx import file
from worker.engine.formats.onnx.graph import (
    FLOATS,
    integer,
    integers,
    operator,
    subgraphs,
    tensor_of,
)

_UNARY = ("Identity", "Cast", "Transpose", "Flatten")
_BY_LIST = ("Reshape", "Squeeze", "Unsqueeze")
_FILL = "ConstantOfShape"
_QUANTISED = "DequantizeLinear"
FOLDED = ("Constant", *_UNARY, *_BY_LIST, _FILL)
"""The operators whose values may be known before a graph runs."""

Step = tuple[NodeProto, tuple[int, ...] | None]
"""An operator, and the list of integers that it takes besides: a shape, or axes."""


@dataclass(frozen=True)
class Constant:
    """A stored tensor, and the operators that make of it what the value is, in order.

    `origin` is the name of the value that is stored: values with one origin share a weight.
    """

    tensor: TensorProto
    origin: str
    steps: tuple[Step, ...] = ()

    @property
    def identity(self) -> Hashable:
        """What values have in common that are the same."""
        steps = tuple(
            (
                node.op_type,
                tuple(attribute.SerializeToString() for attribute in node.attribute),
                listed,
            )
            for node, listed in self.steps
        )
        return self.origin, steps

    @property
    def is_quantised(self) -> bool:
        """Whether it is stored as integers of a coarser scale; `array` is not for these."""
        return any(node.op_type == _QUANTISED for node, _ in self.steps)

    @property
    def data_type(self) -> int:
        """Its element type, as ONNX numbers it."""
        for node, _ in reversed(self.steps):
            if node.op_type == "Cast":
                return integer(node, "to", TensorProto.FLOAT)
            if node.op_type == _FILL:
                value = tensor_of(node, "value")
                return TensorProto.FLOAT if value is None else value.data_type
        return self.tensor.data_type

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, for which no element is read."""
        if not self.steps:
            return tuple(self.tensor.dims)
        if any(node.op_type == _FILL for node, _ in self.steps):
            return _applied(numpy_helper.to_array(self.tensor), self.steps).shape
        return _applied(np.empty(tuple(self.tensor.dims), np.int8), self.steps, cast=False).shape

    def array(self, source: Path) -> NDArray[np.generic]:
        """Return its elements, large ones over the file itself; `source` is the file that the graph was read from.

        Raises:
            Refusal: `model_invalid` where the data does not fill its shape.
        """
        elements = file.mapped(self.tensor, source)
        if not elements.flags.aligned:  # which arithmetic would copy time after time
            elements = file.array(self.tensor, source)
        return _applied(elements, self.steps)


def constants(graph: GraphProto) -> dict[str, Constant]:
    """Return the values of a graph, and of the bodies in it, that are known before it runs, by name, which is unique.

    Initializers that are no inputs too are what they are; from IR version 4 on, an input only defaults to its
    initializer, yet no one may be expected to pass weights, so those count as constant as well.
    """
    found: dict[str, Constant] = {}
    _find(graph, found)
    return found


def _find(graph: GraphProto, found: dict[str, Constant]) -> None:
    found.update((tensor.name, Constant(tensor, tensor.name)) for tensor in graph.initializer)
    for node in graph.node:
        for body in subgraphs(node):
            _find(body, found)
        try:
            made = _made(node, found)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError):
            continue  # what contradicts itself is told by who runs it
        if made is not None:
            found[node.output[0]] = made


def _made(node: NodeProto, found: dict[str, Constant]) -> Constant | None:
    """Return what a node gives, if that is known."""
    kind = operator(node)
    if len(node.output) != 1:
        return None
    if kind == "Constant":
        value = tensor_of(node, "value")
        return None if value is None else Constant(value, node.output[0])
    if not node.input or node.input[0] not in found:
        return None
    source = found[node.input[0]]
    listed: tuple[int, ...] | None = None
    if kind in _BY_LIST:
        operand = found.get(node.input[1]) if len(node.input) > 1 else None
        listed = (
            _integers(operand)
            if operand
            else integers(node, "shape" if kind == "Reshape" else "axes")
        )
        if listed is None:
            return None
    elif kind == _FILL:
        if _integers(source) is None:
            return None
    elif kind not in (*_UNARY, _QUANTISED) or (
        kind == "Cast" and integer(node, "to", 0) not in FLOATS
    ):
        return None
    origin = node.output[0] if kind == _FILL else source.origin
    made = Constant(source.tensor, origin, (*source.steps, (node, listed)))
    return made if np.prod(made.shape) > 0 else None


def _integers(constant: Constant) -> tuple[int, ...] | None:
    """Return a short list of integers that is stored as it is."""
    tensor = constant.tensor
    is_list = (
        tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1 and tensor.dims[0] <= 16
    )
    if constant.steps or not is_list or file.is_external(tensor):
        return None
    return tuple(numpy_helper.to_array(tensor).tolist())


def _applied(
    array: NDArray[np.generic], steps: tuple[Step, ...], *, cast: bool = True
) -> NDArray[np.generic]:
    for node, listed in steps:
        if node.op_type == "Cast" and cast:
            array = array.astype(
                helper.tensor_dtype_to_np_dtype(integer(node, "to", TensorProto.FLOAT))
            )
        elif node.op_type == "Transpose":
            array = array.transpose(integers(node, "perm"))
        elif node.op_type == "Flatten":
            axis = integer(node, "axis", 1)
            array = array.reshape(int(np.prod(array.shape[:axis])), -1)
        elif node.op_type == "Reshape" and listed is not None:
            kept = enumerate(listed)
            array = array.reshape([array.shape[at] if size == 0 else size for at, size in kept])
        elif node.op_type == "Squeeze":
            array = array.squeeze(listed)
        elif node.op_type == "Unsqueeze" and listed is not None:
            array = np.expand_dims(array, listed)
        elif node.op_type == _FILL:
            value = tensor_of(node, "value")
            filler = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
            array = np.broadcast_to(filler.reshape(-1)[0], tuple(array.tolist()))
    return array

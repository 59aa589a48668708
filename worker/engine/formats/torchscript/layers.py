"""The layers of a TorchScript graph: nodes that multiply by a weight, with their geometry."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch._C import Node, Value

from worker.engine.formats.aten.layers import (
    UNKNOWN,
    LayerUse,
    is_layer,
    layer_use,
    operand_positions,
)
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import Method

_TRANSPOSITIONS = frozenset({"aten::t", "aten::transpose", "aten::numpy_T"})


@dataclass(frozen=True, kw_only=True)
class LayerNode(LayerUse):
    """One node that multiplies by a weight, and the method whose graph holds it."""

    method: Method
    node: Node


@dataclass(frozen=True)
class _NodeOperator:
    """A node, read as `worker.engine.formats.aten.layers.Operator`."""

    method: Method
    node: Node

    @property
    def kind(self) -> str:
        return self.node.kind()

    @property
    def arity(self) -> int:
        return self.node.inputsSize()

    def constant(self, position: int) -> Any:  # noqa: ANN401 - whatever the graph holds
        return self.method.constant(self.node.inputsAt(position))

    def path(self, position: int) -> str | None:
        return self.method.path_of(self.node.inputsAt(position))

    def before_transposition(self, position: int) -> tuple[Any, str | None] | None:
        value = self.node.inputsAt(position)
        source = _source(value)
        if source is value:
            return None
        return self.method.constant(source), self.method.path_of(source)


def layer_nodes(method: Method) -> Iterator[LayerNode]:
    """Yield the convolutions of a method, and its linear layers: products with a stored matrix.

    Products that a computed weight has replaced are none.
    """
    for node in nodes(method.graph):
        if not is_layer(node.kind()):
            continue
        number = node.output().unique()
        if number in method.superseded:
            continue
        layer = layer_use(_NodeOperator(method, node))
        if layer is not None:
            yield LayerNode(**vars(layer), method=method, node=node)


def computed_operands(node: Node, method: Method) -> Iterator[int]:
    """Yield the positions of a layer's weight and bias, where they are not stored as they are."""
    for position in operand_positions(node.kind()):
        source = _source(node.inputsAt(position))
        if method.constant(source) is UNKNOWN:
            yield position


def _source(value: Value) -> Value:
    """Return the matrix whose transpose a value is, else the value itself."""
    if value.node().kind() in _TRANSPOSITIONS:
        return value.node().inputsAt(0)
    return value

"""The layers of an exported program: nodes that multiply by a weight, with their geometry."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.fx import Node

from worker.engine.formats.aten.layers import (
    LayerUse,
    TensorKey,
    is_layer,
    layer_use,
)
from worker.engine.formats.aten.other_uses import may_multiply, stored_operands
from worker.engine.formats.pt2.graph import Constants, arguments, kind

_MATRIX_AXES = 2
_SWAPS = frozenset(
    f"aten::{name}"
    for name in ("transpose", "swapaxes", "swapdims", "movedim", "moveaxis")
)


@dataclass(frozen=True, kw_only=True)
class LayerNode(LayerUse):
    """One node that multiplies by a weight."""

    node: Node


@dataclass(frozen=True)
class _NodeOperator:
    """A node, read as `worker.engine.formats.aten.layers.Operator`."""

    kind: str
    contents: Sequence[Any]
    constants: Constants
    paths: Mapping[str, str]

    @property
    def arity(self) -> int:
        return len(self.contents)

    def constant(self, position: int) -> Any:  # noqa: ANN401 - whatever a graph holds
        return self.constants.content(self.contents[position])

    def path(self, position: int) -> str | None:
        return self._path(self.contents[position])

    def before_transposition(self, position: int) -> tuple[Any, str | None] | None:
        value = self.contents[position]
        if not _is_transposition(value):
            return None
        source = value.args[0]
        return self.constants.content(source), self._path(source)

    def _path(self, value: object) -> str | None:
        return self.paths.get(value.name) if isinstance(value, Node) else None


def layer_nodes(
    nodes: Sequence[Node], constants: Constants, paths: Mapping[str, str]
) -> list[LayerNode]:
    """Return the convolutions of a graph, and its linear layers: products with a stored matrix.

    Products that weights are computed from are none. `paths` are the names of stored tensors by
    placeholder.
    """
    layers = list(_layer_nodes(nodes, constants, paths))
    known = constants.known()
    return [layer for layer in layers if layer.node.name not in known]


def _layer_nodes(
    nodes: Sequence[Node], constants: Constants, paths: Mapping[str, str]
) -> Iterator[LayerNode]:
    for node in nodes:
        if node.op != "call_function" or not is_layer(kind(node)):
            continue
        operator = _NodeOperator(kind(node), arguments(node), constants, paths)
        layer = layer_use(operator)
        if layer is None:
            continue
        if layer.weight is not None and layer.path is None:
            # a weight that is computed from parameters goes by the name of its module
            layer = replace(layer, path=_module_path(node))
        yield LayerNode(**vars(layer), node=node)


def weights_elsewhere(
    nodes: Sequence[Node], constants: Constants, layers: Sequence[LayerNode]
) -> set[TensorKey]:
    """Return the weights that nodes multiply by which are no layers."""
    own = {layer.node for layer in layers if layer.weight is not None}
    known = constants.known()
    weights: set[TensorKey] = set()
    for node in nodes:
        is_run = node.op == "call_function" and node.name not in known
        if is_run and may_multiply(kind(node)) and node not in own:
            weights.update(
                stored_operands(
                    node.all_input_nodes,
                    kind,
                    lambda value: value.all_input_nodes,
                    constants.content,
                )
            )
    return weights


def _is_transposition(value: object) -> bool:
    """Whether a value is the transpose of a matrix."""
    if not isinstance(value, Node) or value.op != "call_function":
        return False
    name = kind(value)
    if name in ("aten::t", "aten::numpy_T", "aten::mT", "aten::adjoint"):
        return True
    if name == "aten::permute":
        return _axes(value.args[1]) == [1, 0]
    if name in _SWAPS:
        return _axes(value.args[1:3]) in ([0, 1], [1, 0])
    return False


def _axes(order: object) -> list[int]:
    """Return the axes of a matrix that an argument names, counted from the first."""
    if not isinstance(order, list | tuple):
        return []
    return [axis % _MATRIX_AXES for axis in order if isinstance(axis, int)]


def _module_path(node: Node) -> str | None:
    """Return the path of the weight of the module whose code a node stems from."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return f"{paths[-1]}.weight" if paths else None

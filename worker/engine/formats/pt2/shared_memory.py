"""Which values of an exported graph may lie in the same memory, and who reads them when."""

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Graph, Node

from worker.engine.formats.aten.layers import is_layer
from worker.engine.formats.aten.norms import NORMS
from worker.engine.formats.pt2.graph import kind

# Operators that consist of others, and always compute a tensor of their own.
_NEW = NORMS | {
    "aten::adaptive_avg_pool1d",
    "aten::adaptive_avg_pool2d",
    "aten::adaptive_avg_pool3d",
    "aten::avg_pool1d",
    "aten::group_norm",
    "aten::layer_norm",
    "aten::log_softmax",
    "aten::max_pool1d",
    "aten::max_pool2d",
    "aten::max_pool3d",
    "aten::pad",
    "aten::pixel_shuffle",
    "aten::rms_norm",
    "aten::scaled_dot_product_attention",
    "aten::softmax",
    "aten::upsample_bicubic2d",
    "aten::upsample_bilinear2d",
    "aten::upsample_nearest2d",
}

_C: Any = torch._C  # most of these functions are missing from torch's stubs


class SharedMemory:
    """Values that may be views of one tensor, by the operators that gave them."""

    def __init__(self, graph: Graph) -> None:
        self._order = {node: position for position, node in enumerate(graph.nodes)}
        self._groups: dict[Node, set[Node]] = {}
        for node in graph.nodes:
            group = {node}
            if node.op == "call_function" and _may_be_view(node):
                for source in node.all_input_nodes:
                    group |= self._groups[source]
            for member in group:
                self._groups[member] = group

    def sharing(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes whose values may share memory with those of these nodes, in order."""
        group: set[Node] = set()
        for node in nodes:
            group |= self._groups[node]
        return sorted(group, key=self._order.__getitem__)

    def others_read_later(self, writer: Node, written: Sequence[Node]) -> bool:
        """Whether anything but the writer's own result shows what it has written."""
        now = self._order[writer]
        for node in self.sharing(written):
            is_own = node is writer or self._order[node] > now
            if not is_own and self._is_read_after(node, now):
                return True
        return False

    def _is_read_after(self, node: Node, now: int) -> bool:
        return any(self._order[user] > now for user in node.users)


def functional(node: Node) -> OpOverload | None:
    """Return the operator that gives what a node writes into its first argument; None if none does.

    >>> graph = Graph()
    >>> functional(graph.call_function(torch.ops.aten.relu_.default, (graph.placeholder("x"),)))
    <OpOverload(op='aten.relu', overload='default')>
    """
    target = node.target
    if not isinstance(target, OpOverload) or not _is_in_place(target):
        return None
    name = kind(node).removeprefix("aten::").removesuffix("_")
    packet = getattr(torch.ops.aten, name, None)
    overload = getattr(packet, target._overloadname, None)
    if overload is None:
        return None
    own = [argument.name for argument in target._schema.arguments]
    same = own == [argument.name for argument in overload._schema.arguments]
    return overload if same else None


def _is_in_place(target: OpOverload) -> bool:
    """Whether an operator writes into its first argument alone, and returns it."""
    written = [
        argument.alias_info is not None and argument.alias_info.is_write
        for argument in target._schema.arguments
    ]
    name: str = target._schema.name
    return name.endswith("_") and written[:1] == [True] and not any(written[1:])


def _may_be_view(node: Node) -> bool:
    """Whether a node's result may lie in the memory of what it takes."""
    target = node.target
    if not isinstance(target, OpOverload):
        return True  # an item of a list, or a number
    if any(each.alias_info is not None for each in target._schema.returns):
        return True
    if is_layer(kind(node)) or kind(node) in _NEW:
        return False
    # Operators that consist of others return their input itself where they have no work.
    name: str = target.name()  # type: ignore[no-untyped-call]  # untyped in torch
    return bool(
        _C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    )

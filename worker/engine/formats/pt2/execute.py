"""Run the graph of an exported program node by node, with some of its contents known before."""

from collections.abc import Mapping
from typing import Any

from torch.fx import Graph, Node
from torch.fx.node import map_arg

from worker.engine.formats.pt2.graph import is_check, on_device


def run(graph: Graph, contents: Mapping[str, Any], device: str) -> tuple[Any, ...]:
    """Return the graph's outputs; `contents` are those of placeholders and of other known nodes.

    Tensors that operators create lie on the device. Checks of sizes and types are left out.
    """
    values: dict[Node, Any] = {}
    last_users = _last_users(graph)
    for node in graph.nodes:
        if node.name in contents:
            values[node] = contents[node.name]
        elif node.op == "output":
            return tuple(map_arg(node.args[0], values.__getitem__))
        elif not is_check(node):
            call = map_arg((node.args, node.kwargs), values.__getitem__)
            args, kwargs = on_device(call, device)
            values[node] = node.target(*args, **kwargs)
        for unneeded in last_users.get(node, ()):
            values.pop(unneeded, None)
    raise ValueError("the graph has no output")


def _last_users(graph: Graph) -> dict[Node, list[Node]]:
    """Return the nodes that each node is the last to use."""
    last: dict[Node, Node] = {}
    for node in graph.nodes:
        for each in node.all_input_nodes:
            last[each] = node
    users: dict[Node, list[Node]] = {}
    for node, user in last.items():
        users.setdefault(user, []).append(node)
    return users

"""Walk a TorchScript graph: its nodes in order, and the values that one node needs from outside."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch._C import Block, Graph, Node, Value

# Most nodes are of these kinds; to ask each of them for its blocks takes most of a walk.
_WITHOUT_BLOCKS = (
    "aten::",
    "prim::CallFunction",
    "prim::CallMethod",
    "prim::Constant",
    "prim::GetAttr",
    "prim::ListConstruct",
    "prim::ListUnpack",
    "prim::NumToTensor",
    "prim::TupleConstruct",
    "prim::TupleUnpack",
)


def nodes(block: Graph | Block) -> Iterator[Node]:
    """Yield the nodes of a graph in order; those of branches and loop bodies follow their owner."""
    # Without recursion: a node deep inside would pass through a generator for every level.
    walks = [block.nodes()]
    while walks:
        for node in walks[-1]:
            yield node
            if node.kind().startswith(_WITHOUT_BLOCKS):
                continue
            inner = [body.nodes() for body in node.blocks()]
            if inner:
                walks.extend(reversed(inner))
                break
        else:
            walks.pop()


def nodes_within(node: Node) -> Iterator[Node]:
    """Yield a node, then the nodes of its branches and loop bodies."""
    yield node
    for block in node.blocks():
        yield from nodes(block)


def captured_values(node: Node) -> list[Value]:
    """Return the values from outside that a node needs, each once.

    The node's own inputs come first, then what its branches and loop bodies read.
    """
    captured = {value.unique(): value for value in node.inputs()}
    defined: set[int] = set()
    for block in node.blocks():
        _capture(block, captured, defined)
    return list(captured.values())


def _capture(block: Block, captured: dict[int, Value], defined: set[int]) -> None:
    """Add the values from outside that a block reads to `captured`, its own to `defined`."""
    inputs = [value.unique() for value in block.inputs()]
    defined.update(inputs)
    for node in block.nodes():
        _capture_undefined(node.inputs(), captured, defined)
        for inner in node.blocks():
            _capture(inner, captured, defined)
        outputs = [value.unique() for value in node.outputs()]
        defined.update(outputs)
    _capture_undefined(block.outputs(), captured, defined)


def _capture_undefined(
    values: Iterable[Value], captured: dict[int, Value], defined: set[int]
) -> None:
    for value in values:
        if value.unique() not in defined:
            captured[value.unique()] = value


def literal(value: Value) -> Any:  # noqa: ANN401 - whatever the graph holds
    """Return the content of a constant in the graph, None for any other value."""
    if value.node().kind() != "prim::Constant" or is_enumeration(value):
        return None
    return value.toIValue()


def is_enumeration(value: Value) -> bool:
    """Whether a value is one of an enumeration, whose Python class is not there."""
    return value.type().kind() == "EnumType"

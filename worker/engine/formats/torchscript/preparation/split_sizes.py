"""Settle the sizes of the parts into which a parameter is split.

Attention of one value to another splits its parameters by the width of its input, which a graph
does not state. But the parts of a split add up to what is split.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch._C import Node, Value

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.torchscript.graph import literal, nodes
from worker.engine.formats.torchscript.method import Method

_SPLITS = frozenset({"aten::split", "aten::split_with_sizes"})
_CONVERSIONS = frozenset(
    {"aten::Int", "aten::IntImplicit", "aten::ScalarImplicit", "prim::NumToTensor"}
)


def settle(method: Method) -> None:
    """Replace sizes that are multiples of one unknown number by what they are at every run."""
    graph: Any = method.graph  # torch's stubs lack some of its methods
    for node in list(nodes(graph)):
        sizes = _sizes(method, node)
        if sizes is None:
            continue
        constant = graph.insertConstant(sizes)
        constant.node().moveBefore(node)
        node.replaceInput(1, constant)


def _sizes(method: Method, node: Node) -> list[int] | None:
    """Return the sizes of the parts of a stored tensor, None where they cannot or need not be."""
    if (
        node.kind() not in _SPLITS
        or node.inputsAt(1).node().kind() != "prim::ListConstruct"
    ):
        return None
    whole, axis = method.constant(node.inputsAt(0)), method.constant(node.inputsAt(2))
    parts = list(node.inputsAt(1).node().inputs())
    is_known = isinstance(whole, Tensor) and isinstance(axis, int)
    if not is_known or all(method.constant(part) is not UNKNOWN for part in parts):
        return None
    unknown: set[int] = set()
    multiples = [_multiple(part, unknown) for part in parts]
    if len(unknown) != 1 or None in multiples:
        return None
    multiples_or_zero = [multiple or 0 for multiple in multiples]
    length = whole.shape[axis]
    return _shares(length, multiples_or_zero)


def _shares(length: int, multiples: Sequence[int]) -> list[int] | None:
    """Return the parts of a length in these proportions, None where they are no whole numbers.

    >>> _shares(12, [1, 2])
    [4, 8]
    """
    total = sum(multiples)
    if total <= 0 or length % total:
        return None
    return [length // total * multiple for multiple in multiples]


def _multiple(value: Value, unknown: set[int]) -> int | None:
    """Return the multiple of the unknown number that a value is, None where it is no multiple."""
    factor = 1
    while value.node().kind() != "aten::size":
        node = value.node()
        if node.kind() == "aten::mul":
            value, other = node.inputs()
            multiplier = literal(other)
            if multiplier is None:
                return None
            factor *= int(multiplier)
        elif node.kind() in _CONVERSIONS:
            value = node.inputsAt(0)
        else:
            return None
    unknown.add(value.unique())
    return factor

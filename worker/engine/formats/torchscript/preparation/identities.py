"""Settle comparisons of a value with itself, so that branches that never run can be left out."""

from typing import Any

from torch._C import Graph, Node

from worker.engine.formats.torchscript.graph import nodes

_COMPARISONS = {"aten::__is__": True, "aten::__isnot__": False}


def settle(graph: Graph) -> None:
    """Replace `x is x` by a constant, and `x is None` where a type excludes it, in all blocks."""
    for node in list(nodes(graph)):
        answer = _answer(node)
        if answer is not None:
            _replace(graph, node, answer)


def _answer(node: Node) -> bool | None:
    """Return the result of a comparison at every run, None where only a run can tell."""
    same = _COMPARISONS.get(node.kind())
    if same is None:
        return None
    left, right = node.inputs()
    if left.unique() == right.unique():
        return same
    kinds = {left.type().kind(), right.type().kind()}
    if kinds == {"NoneType", "TensorType"}:
        return not same
    return None


def _replace(graph: Any, node: Node, answer: bool) -> None:  # noqa: ANN401 - not in torch's stubs
    constant = graph.insertConstant(answer)
    constant.node().moveBefore(node)
    node.output().replaceAllUsesWith(constant)
    node.destroy()

"""Settle comparisons of a value with itself, so that branches that never run can be left out."""

from typing import Any

from torch._C import Graph, Node, Value

from worker.engine.formats.torchscript.graph import nodes

_COMPARISONS = {"aten::__is__": True, "aten::__isnot__": False}
# torch's own code asks whether tensors are the same object only to choose how to compute them.
_OWN_CODE = "torch/nn/functional.py"


def settle(graph: Graph) -> bool:
    """Replace `x is x` by a constant, and `x is None` where a type excludes it, in all blocks.

    Returns whether there was any: what follows from the constants may settle others.
    """
    answers = [(node, _answer(node)) for node in nodes(graph)]
    settled = [(node, answer) for node, answer in answers if answer is not None]
    for node, answer in settled:
        _replace(graph, node, answer)
    return bool(settled)


def _answer(node: Node) -> bool | None:
    """Return the result of a comparison at every run, None where only a run can tell."""
    same = _COMPARISONS.get(node.kind())
    if same is None:
        return None
    left, right = node.inputs()
    kinds = {left.type().kind(), right.type().kind()}
    if kinds == {"NoneType", "TensorType"}:
        return not same
    if _are_alike(left, right, by_content=_OWN_CODE in str(node.sourceRange())):
        return same
    return None


def _are_alike(left: Value, right: Value, *, by_content: bool) -> bool:
    """Whether two values are one object at every run, or at least two of the same content."""
    if left.unique() == right.unique():
        return True
    one, other = left.node(), right.node()
    if one.kind() == "prim::If" and other.kind() == "prim::If":
        return _is_same_node(one, other) and all(
            _are_alike(
                _result(block, left, one),
                _result(block, right, one),
                by_content=by_content,
            )
            for block in one.blocks()
        )
    is_view = one.kind() == other.kind() in ("aten::unsqueeze", "aten::transpose")
    return (
        by_content
        and is_view
        and all(
            _are_alike(a, b, by_content=True)
            for a, b in zip(one.inputs(), other.inputs(), strict=True)
        )
    )


def _is_same_node(one: Node, other: Node) -> bool:
    return [each.unique() for each in one.outputs()] == [
        each.unique() for each in other.outputs()
    ]


def _result(block: Any, value: Value, owner: Node) -> Value:  # noqa: ANN401 - not in torch's stubs
    """Return the value that a branch gives for an output of its owner."""
    numbers = [each.unique() for each in owner.outputs()]
    position = numbers.index(value.unique())
    results: list[Value] = list(block.outputs())
    return results[position]


def _replace(graph: Any, node: Node, answer: bool) -> None:  # noqa: ANN401 - not in torch's stubs
    constant = graph.insertConstant(answer)
    constant.node().moveBefore(node)
    node.output().replaceAllUsesWith(constant)
    node.destroy()

"""Settle comparisons of enumeration values that a module holds; no Python class stands for them."""

from typing import Any, NamedTuple

import torch
from torch._C import Node, Value

from worker.engine.formats.torchscript.graph import is_enumeration, nodes
from worker.engine.formats.torchscript.method import Method, attribute

_COMPARISONS = {"aten::eq": True, "aten::ne": False}


class _Member(NamedTuple):
    """Stands for a value of an enumeration."""

    enumeration: str
    name: str


class _Enumeration:
    """Stands for the class of an enumeration: any name is one of its values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Member:
        return _Member(self._name, name)


def settle(method: Method) -> None:
    """Replace comparisons of values that never change by their results."""
    graph: Any = method.graph  # torch's stubs lack some of its methods
    for node in list(nodes(graph)):
        answer = _answer(method, node)
        if answer is None:
            continue
        constant = graph.insertConstant(answer)
        constant.node().moveBefore(node)
        node.output().replaceAllUsesWith(constant)
        node.destroy()


def _answer(method: Method, node: Node) -> bool | None:
    same = _COMPARISONS.get(node.kind())
    if same is None or not all(is_enumeration(value) for value in node.inputs()):
        return None
    members = [_member(method, value) for value in node.inputs()]
    left, right = members
    if left is None or right is None:
        return None
    are_equal = left == right
    return bool(same == are_equal)


def _member(method: Method, value: Value) -> Any:  # noqa: ANN401 - not in torch's stubs
    """Return the constant of a value, None for one that may change."""
    # torch asks for the Python class of a value that leaves the module
    name = str(value.type())
    classes: Any = torch.jit._state._name_to_pyclass
    classes.setdefault(name, _Enumeration(name))
    if value.node().kind() == "prim::Constant":
        return value.toIValue()
    path = method.path_within(value)
    if path is None or method.path_of(value) in method.written:
        return None
    return attribute(method.module, path)

"""The order of an ONNX model's nodes and the calls of its functions: bounded, without circles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from convpress.gate.onnx.wire import shown
from convpress.gate.refusals import damaged, over_limit
from convpress.limits import Limits


class FunctionId(NamedTuple):
    """The identity of a local function, or of the operator that a node calls."""

    domain: bytes
    name: bytes
    overload: bytes


class NodeNames(NamedTuple):
    """The names that a node reads, its graphs included, and those that it defines."""

    reads: set[bytes]
    defines: list[bytes]


@dataclass
class Body:
    """The nodes of a graph or function, counted, with the number of its calls of each operator."""

    nodes: int = 0
    calls: dict[FunctionId, int] = field(default_factory=dict)

    def add_call(self, function: FunctionId) -> None:
        """Count a call."""
        self.calls[function] = self.calls.get(function, 0) + 1


def require_order(nodes: Sequence[NodeNames], where: str) -> None:
    """Require that no node needs a value that depends on it.

    Raises:
        Refusal: `model_invalid`.

    >>> first = NodeNames(reads={b"x"}, defines=[b"y"])
    >>> second = NodeNames(reads={b"y"}, defines=[b"z"])
    >>> require_order([second, first], "a")
    >>> circle = NodeNames(reads={b"y"}, defines=[b"x"])
    >>> require_order([first, circle], "a")
    Traceback (most recent call last):
    ...
    convpress.refusal.Refusal: the model's file is damaged: 2 nodes of a need each other's outputs
    """
    needs = _needs(nodes)
    # Nearly all models have their nodes in order already.
    if all(max(needed, default=-1) < index for index, needed in enumerate(needs)):
        return
    users: list[list[int]] = [[] for _ in nodes]
    for index, needed in enumerate(needs):
        for other in needed:
            users[other].append(index)
    # Kahn, 1962: take away nodes that need nothing any more, until none is left or all are in
    # circles.
    waiting = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(waiting) if count == 0]
    ordered = 0
    while ready:
        ordered += 1
        for user in users[ready.pop()]:
            waiting[user] -= 1
            if waiting[user] == 0:
                ready.append(user)
    if ordered != len(nodes):
        raise damaged(
            f"{len(nodes) - ordered} nodes of {where} need each other's outputs"
        )


def _needs(nodes: Iterable[NodeNames]) -> list[set[int]]:
    """Return, for each node, the positions of the nodes whose values it reads."""
    definers: dict[bytes, int] = {}
    for index, node in enumerate(nodes):
        for name in node.defines:
            if name:
                definers[name] = index
    return [_definers_of(node, definers) for node in nodes]


def _definers_of(node: NodeNames, definers: Mapping[bytes, int]) -> set[int]:
    return {definers[name] for name in node.reads if name in definers}


class _Expanded(NamedTuple):
    """A body with all that it calls: how deep the calls go, and for how many nodes it stands."""

    depth: int
    nodes: int


def bound_calls(
    main: Body, functions: Mapping[FunctionId, Body], limits: Limits
) -> None:
    """Require functions without circles of calls, not too deep, that stand for few enough nodes.

    Raises:
        Refusal: `model_invalid` or `model_over_limit`.
    """
    expanded: dict[FunctionId, _Expanded] = {}
    open_calls: set[FunctionId] = set()
    # A stack instead of recursion: a file must not decide how deep Python recurses.
    stack = list(functions)
    while stack:
        name = stack[-1]
        if name in expanded:
            stack.pop()
            continue
        body = functions[name]
        called = [other for other in body.calls if other in functions]
        missing = [other for other in called if other not in expanded]
        if not missing:
            expanded[name] = _expand(body, expanded, limits)
            open_calls.discard(name)
            stack.pop()
            continue
        open_calls.add(name)
        if open_calls.intersection(missing):
            raise damaged(f"the function {shown(name.name)} calls itself")
        stack += missing
    _expand(main, expanded, limits)


def _expand(
    body: Body, expanded: Mapping[FunctionId, _Expanded], limits: Limits
) -> _Expanded:
    """Return a body with all that it calls; the functions among these are expanded already."""
    deepest = 0
    nodes = body.nodes
    for function, count in body.calls.items():
        inner = expanded.get(function)
        if inner is None:
            continue
        deepest = max(deepest, inner.depth)
        nodes += count * inner.nodes
    if deepest >= limits.nesting:
        raise over_limit(
            f"functions call functions {deepest} deep", f"at most {limits.nesting}"
        )
    if nodes > limits.nodes:
        raise over_limit(
            "the model's functions expand to too many nodes",
            f"at most {limits.nodes} nodes",
        )
    return _Expanded(deepest + 1, nodes)

"""Reading a TorchScript graph once calls are inlined: its nodes, and where the values that they take come from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C import Block, Graph, Node, Value
from torch.jit._script import RecursiveScriptModule

# Code behind these is not inlined: a task of its own, a closure, a method found only when it is called.
_HIDDEN = frozenset(
    {"prim::fork", "prim::awaitable", "prim::Closure", "prim::CallMethod", "prim::CallFunction"}
)


class _Unknown:
    """The value of an argument that is known at run time only."""


UNKNOWN = _Unknown()


def join(*paths: str) -> str:
    """Join dotted paths, where the root's is empty.

    >>> join("", "layer1", "conv.weight")
    'layer1.conv.weight'
    """
    return ".".join(path for path in paths if path)


def parent(path: str) -> str:
    """Return the path of the module that holds this attribute."""
    return path.rpartition(".")[0]


def attribute(module: RecursiveScriptModule, path: str) -> Any:  # noqa: ANN401 - a module, a tensor, a number ...
    """Return what lies at a dotted path; the module itself for the empty one."""
    found: Any = module
    for name in path.split(".") if path else ():
        found = getattr(found, name)
    return found


def nodes(block: Graph | Block) -> Iterator[Node]:
    """Yield the nodes of a graph in order, those of branches and loop bodies behind the node that holds them."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)


@dataclass(frozen=True)
class Scope:
    """One method's graph with the module that it belongs to, which lies at `path` from the root.

    `written` holds the paths from the root of the attributes that some method writes.
    """

    module: RecursiveScriptModule
    path: str
    graph: Graph
    written: set[str]

    @property
    def self_value(self) -> Value:
        """The module as the method's first input."""
        return next(iter(self.graph.inputs()))

    def path_within(self, value: Value) -> str | None:
        """Return the attribute path from this scope's module to a value, or None where it is no attribute of it."""
        trail: list[str] = []
        while value.unique() != self.self_value.unique():
            node = value.node()
            if node.kind() == "prim::GetAttr":
                trail.append(node.s("name"))
            elif node.kind() != "prim::unchecked_cast":
                return None
            value = node.input()
        return ".".join(reversed(trail))

    def path_of(self, value: Value) -> str | None:
        """Return the attribute path from the root to a value, or None where it is no attribute."""
        path = self.path_within(value)
        return None if path is None else join(self.path, path)

    def constant(self, value: Value) -> Any:  # noqa: ANN401 - whatever the argument holds
        """Return what a value holds at every run: a constant, a list of them, or an attribute that nothing writes.

        `UNKNOWN` where it depends on the run.
        """
        node = value.node()
        if node.kind() == "prim::Constant":
            return value.toIValue()
        if node.kind() in ("prim::ListConstruct", "prim::TupleConstruct"):
            items = [self.constant(item) for item in node.inputs()]
            return UNKNOWN if any(item is UNKNOWN for item in items) else items
        path = self.path_within(value)
        if path is None or join(self.path, path) in self.written:
            return UNKNOWN
        return attribute(self.module, path)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that this method reads from the module, by their paths from the root."""
        reads = (node.output() for node in nodes(self.graph) if node.kind() == "prim::GetAttr")
        found = {self.path_within(value) for value in reads} - {None}
        values = {
            join(self.path, path): attribute(self.module, path)
            for path in found
            if path is not None
        }
        return {path: value for path, value in values.items() if isinstance(value, Tensor)}

    def constants(self) -> Iterator[Any]:
        """Yield what the constants of this method hold."""
        for node in nodes(self.graph):
            if node.kind() == "prim::Constant" and node.output().type().kind() == "TensorType":
                yield node.output().toIValue()

    def hidden(self) -> list[str]:
        """Return the paths of the modules and tensors that are passed to code which is not inlined here."""
        passed = (
            value for node in nodes(self.graph) if node.kind() in _HIDDEN for value in node.inputs()
        )
        return [path for path in map(self.path_of, passed) if path is not None]


def scopes(module: RecursiveScriptModule, path: str, written: set[str]) -> list[Scope]:
    """Return a scope for every method of the module at `path`; their graphs are live: what is changed there is saved.

    Calls are inlined and numbers computed from constants are folded, so that every convolution is a node of its own.
    The attributes that these methods write are added to `written`.
    """
    found = [
        Scope(module, path, module._c._get_method(name).graph, written)
        for name in module._c._method_names()
    ]
    for scope in found:
        torch._C._jit_pass_inline(scope.graph)
        torch._C._jit_pass_constant_propagation_immutable_types(scope.graph)  # type: ignore[attr-defined]  # not in torch's stubs
        for node in nodes(scope.graph):
            owner = scope.path_of(node.inputsAt(0)) if node.kind() == "prim::SetAttr" else None
            if owner is not None:
                written.add(join(owner, node.s("name")))
    return found

"""A method of a TorchScript module with its calls inlined, and where its values come from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._C import Graph, Value
from torch.jit._script import RecursiveScriptModule

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.torchscript.graph import is_enumeration, nodes

# Calls that torch does not inline: a task of its own, a closure, a method that is looked up when it
# is called. What they compute is in no graph that can be edited.
_NOT_INLINED = frozenset(
    {
        "prim::fork",
        "prim::awaitable",
        "prim::Closure",
        "prim::CallMethod",
        "prim::CallFunction",
    }
)

# What asks of a tensor only what an empty one tells as well.
_WITHOUT_CONTENT = frozenset(
    {
        "prim::dtype",
        "prim::device",
        "prim::layout",
        "prim::requires_grad",
        "prim::is_cuda",
        "prim::is_nested",
        "prim::is_quantized",
        "aten::is_floating_point",
    }
)


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
    """Return the attribute at a dotted path; the module itself for the empty path."""
    value: Any = module
    if path:
        for name in path.split("."):
            value = getattr(value, name)
    return value


@dataclass(frozen=True)
class Method:
    """The graph of one method, and the module that it belongs to, at `path` from the root.

    `written` holds the paths from the root of all attributes that some method writes. `computed`
    holds the paths that constants of the graph would have, by the constants' numbers, where they
    were computed from parameters; `superseded` holds the values that the constants left unused.
    """

    module: RecursiveScriptModule
    path: str
    graph: Graph
    written: set[str]
    computed: dict[int, str] = field(default_factory=dict)
    superseded: set[int] = field(default_factory=set)

    @property
    def self_value(self) -> Value:
        """The module as the method's first input."""
        return next(iter(self.graph.inputs()))

    def path_within(self, value: Value) -> str | None:
        """Return the attribute path from this method's module to a value; None if there is none.

        Objects of the file's own classes have none: no Python class stands for them.
        """
        names: list[str] = []
        while value.unique() != self.self_value.unique():
            node = value.node()
            if self._holds_object(value.type()):
                return None
            if node.kind() == "prim::GetAttr":
                names.append(node.s("name"))
            elif node.kind() != "prim::unchecked_cast":
                return None
            value = node.input()
        return ".".join(reversed(names))

    def _holds_object(self, kind: Any) -> bool:  # noqa: ANN401 - torch's stubs lack the classes of types
        """Return whether a type is one of the file's own classes, or may hold such an object.

        Modules are no objects in this sense. `LevelMapper | None` may hold one.
        """
        if kind.kind() == "ClassType":
            return kind.qualified_name() not in self._module_types
        return any(self._holds_object(part) for part in kind.containedTypes())

    @cached_property
    def _module_types(self) -> set[str]:
        modules: Iterable[Any] = (
            self.module.modules()
        )  # torch types them as plain modules
        return {module._c._type().qualified_name() for module in modules}

    def path_of(self, value: Value) -> str | None:
        """Return the attribute path from the root to a value; None if it is no attribute."""
        if value.unique() in self.computed:
            return self.computed[value.unique()]
        path = self.path_within(value)
        if path is None:
            return None
        return join(self.path, path)

    def constant(self, value: Value) -> Any:  # noqa: ANN401 - whatever the argument holds
        """Return the content that a value has at every run, or `UNKNOWN`.

        1. A constant of the graph.
        2. A list or tuple of constants.
        3. An attribute that no method writes.
        """
        if is_enumeration(value):
            return UNKNOWN
        node = value.node()
        kind = node.kind()
        if kind == "prim::Constant":
            return value.toIValue()
        if kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            items = [self.constant(item) for item in node.inputs()]
            if any(item is UNKNOWN for item in items):
                return UNKNOWN
            return items
        path = self.path_within(value)
        if path is None:
            return UNKNOWN
        own_path = join(self.path, path)
        if own_path in self.written:
            return UNKNOWN
        return attribute(self.module, path)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that this method reads from the module, by path from the root."""
        tensors: dict[str, Tensor] = {}
        for node in nodes(self.graph):
            if node.kind() != "prim::GetAttr" or is_enumeration(node.output()):
                continue
            path = self.path_within(node.output())
            if path is None:
                continue
            value = attribute(self.module, path)
            if isinstance(value, Tensor):
                tensors[join(self.path, path)] = value
        return tensors

    def contents_read(self) -> Iterator[Tensor]:
        """Yield the tensors of the module whose elements this method reads.

        To ask for a tensor's type or device alone is to read none.
        """
        for node in nodes(self.graph):
            if node.kind() != "prim::GetAttr":
                continue
            output = node.output()
            if is_enumeration(output):
                continue
            path = self.path_within(output)
            uses = [use.user.kind() for use in output.uses()]
            if path is None or all(kind in _WITHOUT_CONTENT for kind in uses):
                continue
            value = attribute(self.module, path)
            if isinstance(value, Tensor):
                yield value

    def constant_tensors(self) -> Iterator[Tensor]:
        """Yield the tensors that the graph itself holds, as the graph of a frozen module does.

        Those that were computed from parameters are not among them.
        """
        for node in nodes(self.graph):
            if (
                node.kind() != "prim::Constant"
                or node.output().type().kind() != "TensorType"
            ):
                continue
            content = node.output().toIValue()
            if (
                isinstance(content, Tensor)
                and node.output().unique() not in self.computed
            ):
                yield content

    def hidden_paths(self) -> list[str]:
        """Return the paths of modules and tensors that are passed to code that is not inlined."""
        paths = []
        for node in nodes(self.graph):
            if node.kind() in _NOT_INLINED:
                paths += [self.path_of(value) for value in node.inputs()]
        return [path for path in paths if path is not None]


def inlined_methods(module: RecursiveScriptModule) -> list[Method]:
    """Return the methods of a root module; their graphs are live: changes to them are saved.

    Calls are inlined and numbers that follow from constants are computed, so that every convolution
    is a node of its own, with its settings.
    """
    written: set[str] = set()
    methods = []
    for name in module._c._method_names():
        graph = module._c._get_method(name).graph
        torch._C._jit_pass_inline(graph)
        torch._C._jit_pass_constant_propagation_immutable_types(graph)  # type: ignore[attr-defined]  # not in torch's stubs
        method = Method(module, "", graph, written)
        written.update(_written_paths(method))
        methods.append(method)
    return methods


def _written_paths(method: Method) -> Iterator[str]:
    for node in nodes(method.graph):
        if node.kind() == "prim::SetAttr":
            owner = method.path_of(node.inputsAt(0))
            if owner is not None:
                yield join(owner, node.s("name"))

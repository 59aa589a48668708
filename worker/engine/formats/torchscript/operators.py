"""Facts of a node's operator by torch's schema: argument names, written arguments, randomness."""

from functools import cache
from typing import Any

import torch
from torch._C import Node, Value

from worker.engine.formats.torchscript.graph import nodes_within

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def operator_name(node: Node) -> tuple[str, str]:
    """Return the operator's name and overload; two empty texts for a branch or a loop."""
    schema = node.schema()
    if "(" not in schema or schema.startswith("("):
        return "", ""
    name, _, overload = schema.partition("(")[0].partition(".")
    return name, overload


def written_values(node: Node) -> list[Value]:
    """Return the values that a node, or one inside it, writes into."""
    values = []
    for inner in nodes_within(node):
        positions = _written_arguments(*operator_name(inner))
        values += [inner.inputsAt(position) for position in positions]
    return values


def is_random(node: Node) -> bool:
    """Whether two runs of a node on the same values differ."""
    return any(_is_random(*operator_name(inner)) for inner in nodes_within(node))


def argument_names(node: Node) -> tuple[str, ...]:
    """Return the names of the operator's arguments; none for a branch or a loop."""
    name, overload = operator_name(node)
    return _argument_names(name, overload)


@cache
def is_dispatched(name: str, overload: str) -> bool:
    """Whether torch's dispatcher knows the operator, so that it works outside TorchScript too."""
    try:
        _C._dispatch_find_schema_or_throw(name, overload)
    except RuntimeError:
        return False
    return True


@cache
def _written_arguments(name: str, overload: str) -> tuple[int, ...]:
    if not name:
        return ()
    schema = _C._get_schema(name, overload)
    indices = []
    for index, argument in enumerate(schema.arguments):
        alias = argument.alias_info
        if alias is not None and alias.is_write:
            indices.append(index)
    return tuple(indices)


@cache
def _argument_names(name: str, overload: str) -> tuple[str, ...]:
    if not name:
        return ()
    schema = _C._get_schema(name, overload)
    return tuple(argument.name for argument in schema.arguments)


@cache
def _is_random(name: str, overload: str) -> bool:
    if not name or not is_dispatched(name, overload):
        return False
    _, _, tags = _C._get_operation_overload(name, overload)
    return torch.Tag.nondeterministic_seeded in tags

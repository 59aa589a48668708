"""A copy of a TorchScript graph as it is evaluated: in float32, without dropout, its attributes read at the start."""

from dataclasses import replace
from typing import Any

import torch
from torch._C import Node, Value

from worker.engine.formats.torchscript.execute import argument_names
from worker.engine.formats.torchscript.graph import Scope, join, nodes
from worker.engine.program import NoProgramError

# data, weight, bias, mean, variance, whether to use (and update) the data's own statistics, momentum, epsilon
NORMS = frozenset(
    {
        "aten::batch_norm",
        "aten::_batch_norm_impl_index",
        "aten::native_batch_norm",
        "aten::instance_norm",
    }
)

_DROPOUTS = frozenset(
    f"aten::{name}{mark}"
    for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
    for mark in ("", "_")
)
_HALF_NUMBERS, _FLOAT_NUMBER = (5, 15), 6  # how TorchScript writes float16, bfloat16 and float32

_C: Any = torch._C  # much of what is asked here is not in torch's stubs


def evaluation(forward: Scope) -> Scope:
    """Return a method with a copy of its graph, changed so that it can be taken apart.

    1. Dropout is left out, and what it takes is what it gives.
    2. Attributes and tensors are read at the beginning, not inside branches and loops; those that the method writes are
       `written`, and no longer written.
    3. What is converted to half precision is converted to float32.
    4. A normalisation that always uses the data's own statistics no longer updates the stored ones.
    5. Operators that write into a value that nothing else can see give a new value instead.
    """
    graph: Any = forward.graph.copy()
    _C._jit_pass_erase_shape_information(graph)
    scope = replace(forward, graph=graph, written=set())
    body = list(nodes(graph))
    float_number, nothing = graph.insertConstant(_FLOAT_NUMBER), graph.insertConstant(None)
    for value in (nothing, float_number):
        _to_front(value.node(), graph)
    early = {scope.self_value.unique()}
    for node in body:
        if node.kind() == "prim::SetAttr":
            owner = scope.path_of(node.inputsAt(0))
            if owner is None:
                raise NoProgramError(f"it writes {node.s('name')} of something that is no module")
            scope.written.add(join(owner, node.s("name")))
            node.destroy()
        elif node.kind() in _DROPOUTS:
            node.output().replaceAllUsesWith(node.inputsAt(0))
            node.destroy()
        elif _is_early(node, early):
            node.moveBefore(float_number.node())
            early.add(node.output().unique())
        else:
            _in_float(node, float_number)
            if node.kind() in NORMS and literal(node.inputsAt(5)) is True:
                node.replaceInput(3, nothing)
                node.replaceInput(4, nothing)
    _C._jit_pass_remove_mutation(graph)
    return scope


def _to_front(node: Node, graph: Any) -> None:  # noqa: ANN401 - see `_C`
    first = next(iter(graph.nodes()))
    if first.output() is not node.output():
        node.moveBefore(first)


def _is_early(node: Node, early: set[int]) -> bool:
    """Whether a node reads an attribute of a module that is known by then, or is a tensor."""
    if node.kind() == "prim::GetAttr":
        return node.input().unique() in early
    return node.kind() == "prim::Constant" and "Tensor" in str(node.output().type())


def _in_float(node: Node, float_number: Value) -> None:
    """Ask for float32 where a node asks for half precision."""
    for index, name in enumerate(argument_names(node)):
        if name == "dtype" and literal(node.inputsAt(index)) in _HALF_NUMBERS:
            node.replaceInput(index, float_number)


def literal(value: Value) -> Any:  # noqa: ANN401 - whatever the graph holds
    """Return what a constant in the graph holds; None for what is none."""
    return value.toIValue() if value.node().kind() == "prim::Constant" else None

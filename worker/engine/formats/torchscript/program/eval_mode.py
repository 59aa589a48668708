"""Copy a TorchScript graph in evaluation mode: float32, no dropout, attributes read first."""

from dataclasses import replace
from typing import Any

import torch
from torch._C import Node, Value

from worker.engine.formats.aten.norms import MEAN, NORMS, OWN_STATISTICS, VARIANCE
from worker.engine.formats.torchscript.graph import literal, nodes
from worker.engine.formats.torchscript.method import Method, join
from worker.engine.formats.torchscript.operators import argument_names
from worker.engine.program import NoProgramError

_DROPOUTS = frozenset(
    {
        "aten::dropout",
        "aten::dropout_",
        "aten::feature_dropout",
        "aten::feature_dropout_",
        "aten::alpha_dropout",
        "aten::alpha_dropout_",
        "aten::feature_alpha_dropout",
        "aten::feature_alpha_dropout_",
    }
)
# Numbers by which TorchScript writes the types float16, bfloat16 and float32.
_HALF_NUMBERS, _FLOAT_NUMBER = (5, 15), 6

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def evaluation_copy(forward: Method) -> Method:
    """Return a method with a copy of its graph, changed so that it can be taken apart.

    1. Dropout is left out: its input stands for its output.
    2. Attributes and tensors are read at the beginning, not inside branches and loops. Attributes
       that the method writes are listed as `written`, and no longer written.
    3. Conversions to half precision become conversions to float32.
    4. A normalisation that always uses the data's own statistics no longer updates the stored ones.
    5. Operators that write into a value that nothing else can see return a new value instead.
    """
    graph: Any = forward.graph.copy()
    _C._jit_pass_erase_shape_information(graph)
    method = replace(forward, graph=graph, written=set())
    body = list(nodes(graph))
    float_number = graph.insertConstant(_FLOAT_NUMBER)
    nothing = graph.insertConstant(None)
    for value in (nothing, float_number):
        _move_to_front(value.node(), graph)
    early = {method.self_value.unique()}
    for node in body:
        if node.kind() == "prim::SetAttr":
            method.written.add(_written_path(node, method))
            node.destroy()
        elif node.kind() in _DROPOUTS:
            node.output().replaceAllUsesWith(node.inputsAt(0))
            node.destroy()
        elif _can_be_early(node, early):
            node.moveBefore(float_number.node())
            early.add(node.output().unique())
        else:
            _convert_to_float(node, float_number)
            if _normalises_by_data(node):
                node.replaceInput(MEAN, nothing)
                node.replaceInput(VARIANCE, nothing)
    _C._jit_pass_remove_mutation(graph)
    return method


def _move_to_front(node: Node, graph: Any) -> None:  # noqa: ANN401 - see `_C`
    """Move a node before all others; one that is there already must not be moved before itself."""
    first = next(iter(graph.nodes()))
    if first.output() is not node.output():
        node.moveBefore(first)


def _written_path(node: Node, method: Method) -> str:
    """Return the path from the root of the attribute that a node writes."""
    name = node.s("name")
    owner = method.path_of(node.inputsAt(0))
    if owner is None:
        raise NoProgramError(f"it writes {name} of something that is no module")
    return join(owner, name)


def _can_be_early(node: Node, early: set[int]) -> bool:
    """Whether a node reads an attribute of a module that is known by then, or is a tensor."""
    if node.kind() == "prim::GetAttr":
        return node.input().unique() in early
    return node.kind() == "prim::Constant" and "Tensor" in str(node.output().type())


def _normalises_by_data(node: Node) -> bool:
    """Whether a node is a normalisation that uses the data's own statistics at every run."""
    return node.kind() in NORMS and literal(node.inputsAt(OWN_STATISTICS)) is True


def _convert_to_float(node: Node, float_number: Value) -> None:
    """Ask for float32 where a node asks for half precision."""
    for index, name in enumerate(argument_names(node)):
        if name == "dtype" and literal(node.inputsAt(index)) in _HALF_NUMBERS:
            node.replaceInput(index, float_number)

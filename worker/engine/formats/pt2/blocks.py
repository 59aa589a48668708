"""Graphs within a program's graph: blocks that run in another mode, and branches of torch.cond."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch._ops import HigherOrderOperator
from torch.fx import Graph, GraphModule, Node

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal

_GRADIENTS = "wrap_with_set_grad_enabled"
_AUTOCAST = "wrap_with_autocast"
_COND = "cond"
# Behind the mode's settings come the block and what it takes.
_SETTINGS = {_GRADIENTS: 1, _AUTOCAST: 4}
_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Block:
    """A graph that a program runs once, with gradients or automatic casts on or off.

    Attributes:
        call: The node that runs it.
        graph: What is run. Its placeholders stand for the operands of the call, in their order.
        is_cast: Whether operators inside compute in half precision, whatever they are given.
    """

    call: Node
    graph: Graph
    is_cast: bool

    @property
    def operands(self) -> tuple[Any, ...]:
        """What the call passes to the graph."""
        return self.call.args[self._settings :]

    @property
    def placeholders(self) -> list[Node]:
        """What stands for the operands in the graph."""
        return list(self.graph.find_nodes(op="placeholder"))

    def pass_in(self, value: Node) -> Node:
        """Return the placeholder of a value of the graph around, a new one where there is none."""
        placeholders = self.placeholders
        for placeholder, operand in zip(placeholders, self.operands, strict=True):
            if operand is value:
                return placeholder
        with self.graph.inserting_after(placeholders[-1]):
            added: Node = self.graph.placeholder(value.name)
        added.meta["val"] = value.meta["val"]
        self.call.args = (*self.call.args, value)
        return added

    def drop(self, placeholder: Node) -> Any:  # noqa: ANN401 - whatever a graph passes
        """Take out a placeholder that nothing uses, and return the operand that it stood for."""
        position = self._settings + self.placeholders.index(placeholder)
        args = list(self.call.args)
        operand = args.pop(position)
        self.call.args = tuple(args)
        self.graph.erase_node(placeholder)
        return operand

    @property
    def _settings(self) -> int:
        return _SETTINGS[_name(self.call)] + 1


def is_higher_order(node: Node) -> bool:
    """Whether a node runs graphs."""
    return isinstance(node.target, HigherOrderOperator)


def is_item(node: Node) -> bool:
    """Whether a node takes an item of a list or tuple."""
    return node.target is operator.getitem


def block_of(node: Node) -> Block | None:
    """Return the block that a node of higher order runs, None for a torch.cond.

    Raises:
        Refusal: `model_unsupported` for another operator, `model_invalid` where the arguments do
            not fit the block.
    """
    name = _name(node)
    if name == _COND:
        return None
    if name not in _SETTINGS:
        refuse_graphs(node)
    settings = node.args[: _SETTINGS[name]]
    graph = _graph(node, _SETTINGS[name])
    block = Block(node, graph, name == _AUTOCAST and _casts(settings))
    _require_fit(node, graph, block.operands)
    return block


def branches_of(node: Node) -> tuple[Graph, Graph, Sequence[Any]]:
    """Return both branches of a torch.cond and their operands.

    Raises:
        Refusal: `model_invalid` where the arguments do not fit the branches.
    """
    operands = node.args[3] if len(node.args) == 4 else None
    if not isinstance(operands, list | tuple):
        _refuse_arguments(node)
    if_true, if_false = _graph(node, 1), _graph(node, 2)
    for graph in (if_true, if_false):
        _require_fit(node, graph, operands)
    return if_true, if_false, operands


def refuse_graphs(node: Node) -> NoReturn:
    """Refuse a node that runs a graph in a way that is not read.

    Raises:
        Refusal: `model_unsupported`.
    """
    raise Refusal(
        Code.MODEL_UNSUPPORTED,
        "the program holds another graph, which an operator of an unknown kind runs",
        field=FIELD,
        expected="operators of aten, torch.cond, and blocks with autocast or gradients on or off",
        got=str(node.target)[:200],
    )


def _name(node: Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _casts(settings: Sequence[Any]) -> bool:
    """Whether autocast of these settings casts: it leaves the processor's tensors alone if not."""
    device, _, is_enabled, *_ = settings
    return device == "cpu" and is_enabled is True


def _graph(node: Node, position: int) -> Graph:
    """Return the graph that is an argument of a node."""
    value = node.args[position] if position < len(node.args) else None
    if not isinstance(value, Node) or value.op != "get_attr" or node.kwargs:
        _refuse_arguments(node)
    module = getattr(node.graph.owning_module, str(value.target), None)
    if not isinstance(module, GraphModule):
        _refuse_arguments(node)
    graph: Graph = module.graph
    return graph


def _require_fit(node: Node, graph: Graph, operands: Sequence[Any]) -> None:
    placeholders = graph.find_nodes(op="placeholder")
    outputs = graph.output_node().args[0]
    is_list = isinstance(outputs, list | tuple)
    is_read_by_item = all(is_item(user) for user in node.users)
    if len(placeholders) != len(operands) or is_list != is_read_by_item:
        _refuse_arguments(node)


def _refuse_arguments(node: Node) -> NoReturn:
    raise Refusal(
        Code.MODEL_INVALID,
        f"the arguments of {_name(node)} do not fit the graph that it runs",
        field=FIELD,
        expected="as many operands as the graph takes, and results that are read by their place",
    )

"""The graph of a program with its blocks unfolded: one list of operators, to be read and run.

Autocast is unfolded in single precision: what a block takes and returns in half precision is cast
at its borders. Branches of torch.cond stay graphs of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2 import blocks
from worker.engine.formats.pt2.blocks import Block
from worker.engine.formats.pt2.execute import Conditional
from worker.engine.formats.pt2.graph import HALF, in_single_precision, written_nodes
from worker.engine.formats.pt2.shared_memory import SharedMemory

_to_copy = torch.ops.aten._to_copy.default


@dataclass(frozen=True)
class FlatGraph:
    """A program's graph without blocks.

    Attributes:
        graph: The operators; placeholders have the names of the program's.
        origins: The program's node for each of the graph that has one.
        blocks: The block that runs each of the program's inner graphs.
    """

    graph: Graph = field(default_factory=Graph)
    origins: dict[Node, Node] = field(default_factory=dict)
    blocks: dict[Graph, Block] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        """The operators in the order in which they run, with placeholders and output."""
        return list(self.graph.nodes)

    def in_branches(self, names: Mapping[str, str]) -> set[str]:
        """Return the names of the tensors that branches take; `names` go by placeholder."""
        in_branches: set[str] = set()
        for node in self.graph.nodes:
            if isinstance(node.target, Conditional):
                operands = (names.get(each.name) for each in node.all_input_nodes)
                in_branches.update(name for name in operands if name is not None)
        return in_branches

    @property
    def outputs(self) -> Sequence[Any]:
        """The graph's outputs: nodes, and constants."""
        outputs: Any = self.graph.output_node().args[0]
        return tuple(outputs)


def flattened(program: ExportedProgram) -> FlatGraph:
    """Return the graph of a program with its blocks unfolded; the program stays as it is.

    Raises:
        Refusal: `model_unsupported` for other graphs within the graph, and for branches that write
            into what they are given; `model_invalid` for blocks whose arguments do not fit them.
    """
    return _flattened(program.graph)


def _flattened(graph: Graph) -> FlatGraph:
    flat = FlatGraph()
    outputs = _Unfolding(flat, is_cast=False).unfold(graph, {})
    flat.graph.output(outputs)
    return flat


class _Unfolding:
    """Copies the nodes of a graph, and those of its blocks in the place of their calls."""

    def __init__(self, flat: FlatGraph, *, is_cast: bool) -> None:
        self._flat = flat
        self._is_cast = is_cast

    def unfold(self, graph: Graph, operands: Mapping[Node, Any]) -> Any:  # noqa: ANN401 - whatever a graph returns
        """Copy a graph, and return its outputs; `operands` are what its placeholders stand for."""
        values: dict[Node, Any] = dict(operands)
        results: dict[Node, Any] = {}
        for node in graph.nodes:
            if node in operands:
                continue
            if node.op == "get_attr":
                _require_inner_graph(node)
            elif node.op == "output":
                return map_arg(node.args[0], values.__getitem__)
            elif blocks.is_higher_order(node):
                block = blocks.block_of(node)
                if block is None:
                    values[node] = self._conditional(node, values)
                else:
                    results[node] = values[node] = self._block(block, values)
            elif blocks.is_item(node) and node.args[0] in results:
                values[node] = results[node.args[0]][node.args[1]]
            else:
                values[node] = self._copied(node, values)
        raise ValueError("a graph without an output")

    def _copied(self, node: Node, values: Mapping[Node, Any]) -> Node:
        copy: Node = self._flat.graph.node_copy(node, values.__getitem__)
        if node.op == "placeholder":
            # a copy of `input` gets another name, since Python has a function of that name
            copy.name = node.name
        if self._is_cast:
            copy.args, copy.kwargs = in_single_precision((copy.args, copy.kwargs))
        self._flat.origins[copy] = node
        return copy

    def _block(self, block: Block, values: Mapping[Node, Any]) -> Any:  # noqa: ANN401 - as above
        """Copy a block's nodes, and return its outputs."""
        self._flat.blocks[block.graph] = block
        operands = map_arg(block.operands, values.__getitem__)
        inner = dict(zip(block.placeholders, operands, strict=True))
        if not block.is_cast:
            return _Unfolding(self._flat, is_cast=self._is_cast).unfold(
                block.graph, inner
            )
        for placeholder, operand in inner.items():
            if _half(placeholder) is not None:
                inner[placeholder] = self._cast(operand, torch.float32)
        outputs = _Unfolding(self._flat, is_cast=True).unfold(block.graph, inner)
        if self._is_cast:
            return outputs
        return self._cast_back(block.graph.output_node().args[0], outputs)

    def _cast_back(self, declared: Any, outputs: Any) -> Any:  # noqa: ANN401 - as above
        """Return the outputs of a block in the half precision that they have in the program."""
        if isinstance(declared, list | tuple):
            return [
                self._cast_back(own, output)
                for own, output in zip(declared, outputs, strict=True)
            ]
        dtype = _half(declared)
        return outputs if dtype is None else self._cast(outputs, dtype)

    def _cast(self, value: Node, dtype: torch.dtype) -> Node:
        return self._flat.graph.call_function(_to_copy, (value,), {"dtype": dtype})

    def _conditional(self, node: Node, values: Mapping[Node, Any]) -> Node:
        """Add a node with both branches of a torch.cond."""
        if_true, if_false, operands = blocks.branches_of(node)
        target = Conditional(_branch(if_true), _branch(if_false))
        args = map_arg((node.args[0], *operands), values.__getitem__)
        copy = self._flat.graph.create_node(
            "call_function", target, args, {}, node.name
        )
        copy.meta = dict(node.meta)
        self._flat.origins[copy] = node
        return copy


def _branch(graph: Graph) -> Graph:
    """Return a branch with its blocks unfolded.

    Raises:
        Refusal: `model_unsupported` where it writes into what it is given.
    """
    flat = _flattened(graph).graph
    memory = SharedMemory(flat)
    from_outside = set(memory.sharing(flat.find_nodes(op="placeholder")))
    for node in flat.nodes:
        if from_outside.intersection(written_nodes(node)):
            raise Refusal(
                Code.MODEL_UNSUPPORTED,
                "a branch of torch.cond writes into a value from outside of it",
                field=FIELD,
                expected="branches that return what they compute",
                got=str(node.target)[:200],
            )
    return flat


def _half(value: object) -> torch.dtype | None:
    """Return the half precision that a node declares, None for any other type."""
    declared = value.meta.get("val") if isinstance(value, Node) else None
    if isinstance(declared, Tensor) and declared.dtype in HALF:
        return declared.dtype
    return None


def _require_inner_graph(node: Node) -> None:
    """Require that operators which run graphs alone take an attribute of the module."""
    if not all(map(blocks.is_higher_order, node.users)):
        blocks.refuse_graphs(node)

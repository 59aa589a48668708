"""Replace Conv, ConvTranspose, Gemm and MatMul nodes by sums of chains of layers.

Before: the nodes share one weight and one bias, both constant.
After: each node is chains of nodes with one set of new initializers. The value of the old node
keeps its name. Old constants that nothing else uses are removed at the end.
"""

from collections.abc import Callable, Iterable, MutableSequence, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

from worker.engine.formats.onnx.constants import FOLDED, Constant, constants
from worker.engine.formats.onnx.convolution import attributes
from worker.engine.formats.onnx.graph import (
    all_graphs,
    fresh_name,
    integer,
    names,
    operator,
    own_opset,
    uses,
)
from worker.engine.numerics.convolution import Array, Layer

Message = TypeVar("Message")

# Up to this IR version every initializer must be listed among the inputs too.
_LAST_IR_WITH_WEIGHTS_AS_INPUTS = 3

# Before this opset the bias of a Gemm is required.
_FIRST_OPSET_OF_GEMM_WITHOUT_BIAS = 11


@dataclass(frozen=True)
class _Link:
    """One node of a chain: its operator, its inputs after the first one, its attributes."""

    op: str
    operands: Sequence[str]
    attributes: Sequence[AttributeProto] = ()


@dataclass(frozen=True)
class _Branch:
    """One chain of the sum; `stem` is the part of its names that tells it from the others."""

    stem: str
    links: Sequence[_Link]


class GraphRewriter:
    """A model whose nodes are replaced one after another; names and constants are read once.

    Until it is closed, the model still has the constants of the replaced nodes.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._old_operands: list[str] = []

    def node(self, output: str) -> NodeProto:
        """Return the node whose first output is this value."""
        graph = self._graphs[output]
        return graph.node[_position(graph, output)]

    def giver(self, output: str) -> NodeProto | None:
        """Return the node whose first output is this value; None for another value."""
        return self.node(output) if output in self._graphs else None

    @cached_property
    def constants(self) -> dict[str, Constant]:
        """The model's constants before any node was replaced."""
        return constants(self._model.graph)

    def replace(
        self,
        outputs: Sequence[str],
        chains: Sequence[Sequence[Layer]],
        data_type: int,
    ) -> None:
        """Replace the nodes with these first outputs by the sum of chains.

        The old node becomes the last of the new ones, with other inputs and attributes, so that its
        name and documentation stay. New weights are stored in the main graph, which bodies see too,
        with the element type `data_type` of ONNX.
        """
        nodes = [self.node(output) for output in outputs]
        for node in nodes:
            old_operands = node.input[1:3]
            self._old_operands += [name for name in old_operands if name]
        branches = self._store(nodes[0], chains, data_type)
        pairs = zip(outputs, nodes, strict=True)
        for output, node in pairs:
            *before, last = _new_nodes(node, branches, self._names)
            node.op_type = last.op_type
            node.ClearField("input")
            node.input.extend(last.input)
            node.ClearField("attribute")
            node.attribute.extend(last.attribute)
            graph = self._graphs[output]
            position = _position(graph, output)
            for offset, new in enumerate(before):
                graph.node.insert(position + offset, new)

    def replace_operands(
        self, output: str, operands: Sequence[tuple[Array, int]]
    ) -> None:
        """Replace the inputs of a node after the first by arrays, each in an element type."""
        node = self.node(output)
        old = node.input[1:]
        self._old_operands += old
        names = [
            _Storage(self._model, self._names, data_type).add(f"{name}_kept", array)
            for name, (array, data_type) in zip(old, operands, strict=True)
        ]
        data = node.input[0]
        node.ClearField("input")
        node.input.extend([data, *names])

    def forget_shapes(self, values: Iterable[str]) -> None:
        """Remove what the model declares of values that have other shapes now."""
        changed = frozenset(values)
        for graph in all_graphs(self._model.graph):
            _delete(graph.value_info, lambda value: value.name in changed)

    def close(self) -> None:
        """Remove the constants of the replaced nodes that nothing else uses."""
        if self._old_operands:
            _remove_unused(self._model, self._old_operands)

    def _store(
        self, node: NodeProto, chains: Sequence[Sequence[Layer]], data_type: int
    ) -> list[_Branch]:
        """Store the weights of chains, and return their links in the operators of a node."""
        storage = _Storage(self._model, self._names, data_type)
        branches = []
        for number, layers in enumerate(chains, start=1):
            # A single chain needs no number.
            stem = f"_branch{number}" if len(chains) > 1 else ""
            links: list[_Link] = []
            for position, layer in enumerate(layers, start=1):
                name = f"{node.input[1]}{stem}_factor{position}"
                own_links = storage.links(node.op_type, layer, name)
                links += own_links
            branch = _Branch(stem, links)
            branches.append(branch)
        return branches

    @cached_property
    def _graphs(self) -> dict[str, GraphProto]:
        """The graph of each node, by the node's first output."""
        graphs = {}
        for graph in all_graphs(self._model.graph):
            for node in graph.node:
                if node.output:
                    graphs[node.output[0]] = graph
        return graphs

    @cached_property
    def _names(self) -> set[str]:
        return names(self._model.graph)


def _position(graph: GraphProto, output: str) -> int:
    """Return the position of the node with this first output."""
    for position, node in enumerate(graph.node):
        if node.output[:1] == [output]:
            return position
    raise LookupError(f"no node of the graph has the first output {output!r}")


def _new_nodes(
    node: NodeProto, branches: Sequence[_Branch], used_names: set[str]
) -> list[NodeProto]:
    """Return the nodes that replace one, in the order in which they run."""
    nodes: list[NodeProto] = []

    def add(
        stem: str, link: _Link, value: str, extra: Sequence[AttributeProto] = ()
    ) -> str:
        """Add the node of a link that takes `value`, and return its output."""
        first_output = node.output[0]
        base = node.name or first_output
        name = fresh_name(base + stem, used_names)
        output = fresh_name(first_output + stem, used_names)
        new = NodeProto(op_type=link.op, domain=node.domain, name=name)
        new.input.extend([value, *link.operands])
        new.output.append(output)
        new.attribute.extend([*extra, *link.attributes])
        nodes.append(new)
        return output

    # The first node of each chain takes the old node's input, transposed where that was.
    transposed: list[AttributeProto] = []
    if integer(node, "transA", 0):
        transposed = [helper.make_attribute("transA", 1)]
    total = ""
    for branch in branches:
        value = node.input[0]
        extra = transposed
        for number, link in enumerate(branch.links, start=1):
            named = f"{branch.stem}_factor{number}"
            value = add(named, link, value, extra)
            extra = []
        # The first chain begins the sum.
        if not total:
            total = value
            continue
        addition = _Link("Add", [value])
        total = add(f"{branch.stem}_sum", addition, total)
    return nodes


@dataclass(frozen=True)
class _Storage:
    """Where new weights are stored: a model, its names in use, and the weights' element type."""

    model: ModelProto
    used_names: set[str]
    data_type: int

    def links(self, op_type: str, layer: Layer, name: str) -> list[_Link]:
        """Store a layer's weights under a name, and return its nodes in the operators of a type."""
        weight = layer.weight
        bias = layer.bias
        if op_type == "MatMul":
            weight_name = self.add(name, weight.T)
            links = [_Link("MatMul", [weight_name])]
            if bias is not None:
                bias_name = self.add(f"{name}_bias", bias)
                links.append(_Link("Add", [bias_name]))
            return links
        is_gemm = op_type == "Gemm"
        needs_bias = (
            is_gemm and own_opset(self.model) < _FIRST_OPSET_OF_GEMM_WITHOUT_BIAS
        )
        if bias is None and needs_bias:
            bias = np.zeros(len(weight), weight.dtype)
        operands = [self.add(name, weight)]
        if bias is not None:
            operands.append(self.add(f"{name}_bias", bias))
        if is_gemm:
            transposed = helper.make_attribute("transB", 1)
            return [_Link("Gemm", operands, [transposed])]
        op = "ConvTranspose" if layer.convolution.transposed else "Conv"
        geometry = attributes(layer.convolution)
        return [_Link(op, operands, geometry)]

    def add(self, wish: str, values: Array) -> str:
        """Store an array as an initializer of the main graph, and return its name."""
        name = fresh_name(wish, self.used_names)
        dtype = helper.tensor_dtype_to_np_dtype(self.data_type)
        tensor = numpy_helper.from_array(
            np.ascontiguousarray(values).astype(dtype), name
        )
        self.model.graph.initializer.append(tensor)
        if self.model.ir_version <= _LAST_IR_WITH_WEIGHTS_AS_INPUTS:
            described = helper.make_tensor_value_info(
                name, self.data_type, values.shape
            )
            self.model.graph.input.append(described)
        return name


def _remove_unused(model: ModelProto, values: Iterable[str]) -> None:
    """Remove these constants, and those that they are folded from, where nothing uses them."""
    graphs = list(all_graphs(model.graph))
    unused = _unused(model, graphs, values)
    for graph in graphs:
        _delete(graph.initializer, lambda tensor: tensor.name in unused)
        _delete(graph.input, lambda value: value.name in unused)
        _delete(graph.value_info, lambda value: value.name in unused)
        _delete(
            graph.node,
            lambda node: _is_folded(node) and not unused.isdisjoint(node.output),
        )


def _unused(
    model: ModelProto, graphs: Iterable[GraphProto], values: Iterable[str]
) -> set[str]:
    """Return those of the values, and of the values behind them, that nothing uses."""
    folded: dict[str, NodeProto] = {}
    for graph in graphs:
        for node in graph.node:
            if _is_folded(node):
                folded.update(dict.fromkeys(node.output, node))
    use_counts = uses(model.graph)
    pending = list(values)
    unused: set[str] = set()
    while pending:
        value = pending.pop()
        if use_counts[value] > 0 or value in unused:
            continue
        unused.add(value)
        if value in folded:
            inputs = folded[value].input
            use_counts.subtract(inputs)
            pending += inputs
    return unused


def _is_folded(node: NodeProto) -> bool:
    return operator(node) in FOLDED


def _delete(
    messages: MutableSequence[Message], is_unused: Callable[[Message], bool]
) -> None:
    """Delete the messages of a repeated field that are not used."""
    for position in reversed(range(len(messages))):
        if is_unused(messages[position]):
            del messages[position]

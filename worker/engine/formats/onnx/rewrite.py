"""Putting chains of layers, which are summed, in the place of Conv, ConvTranspose, Gemm or MatMul nodes.

Before: the nodes share one weight and one bias, both constant. After: each is chains of nodes over one set of new
initializers; the value that it gave keeps its name; of what it took, what nobody else uses is gone at the end.
"""

from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableSequence,
    Sequence,
)
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

_LAST_IR_WITH_WEIGHTS_AS_INPUTS = 3
"""Up to this IR version every initializer is listed among the inputs too."""

_FIRST_OPSET_OF_GEMM_WITHOUT_BIAS = 11


@dataclass(frozen=True)
class _Step:
    """One node of a chain: what it is, and what it takes besides the value that comes in."""

    op: str
    operands: Sequence[str]
    attributes: Sequence[AttributeProto] = ()


class Surgery:
    """A model while some of its nodes are replaced, one after another; what all of it tells is looked up once.

    Until it is closed the model still stores what the replaced nodes took.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._abandoned: list[str] = []

    def node(self, output: str) -> NodeProto:
        """Return the node that gives a value as its first."""
        graph = self._graphs[output]
        return graph.node[_position(graph, output)]

    @cached_property
    def constants(self) -> dict[str, Constant]:
        """What was known of the model's values, before any was replaced."""
        return constants(self._model.graph)

    def replace(
        self, outputs: Collection[str], chains: Sequence[Sequence[Layer]], data_type: int
    ) -> None:
        """Replace the nodes that give these values, wherever they are, by the sum of chains.

        The old node becomes the last of the new ones, with other inputs and attributes, so that its name and
        documentation stay. New weights are stored in the main graph, which bodies see too, as `data_type`, an element
        type of ONNX.
        """
        nodes = [self.node(output) for output in outputs]
        self._abandoned += [name for node in nodes for name in node.input[1:3] if name]
        stems = (
            [""]
            if len(chains) == 1
            else [f"_branch{number}" for number in range(1, len(chains) + 1)]
        )
        branches = {
            stem: list(_steps(self._model, nodes[0], stem, layers, data_type, self._taken))
            for stem, layers in zip(stems, chains, strict=True)
        }
        for output, node in zip(outputs, nodes, strict=True):
            *ahead, last = _nodes(node, branches, self._taken)
            node.op_type = last.op_type
            for name in ("input", "attribute"):
                node.ClearField(name)
                getattr(node, name).extend(getattr(last, name))
            graph = self._graphs[output]
            position = _position(graph, output)
            for offset, link in enumerate(ahead):
                graph.node.insert(position + offset, link)

    def close(self) -> None:
        """Remove the constants that the replaced nodes took, as far as nobody uses them."""
        if self._abandoned:
            _drop_unused(self._model, self._abandoned)

    @cached_property
    def _graphs(self) -> dict[str, GraphProto]:
        """The graphs that nodes are in, by the first value that each gives."""
        graphs = all_graphs(self._model.graph)
        return {node.output[0]: graph for graph in graphs for node in graph.node if node.output}

    @cached_property
    def _taken(self) -> set[str]:
        return names(self._model.graph)


def _position(graph: GraphProto, output: str) -> int:
    return next(at for at, node in enumerate(graph.node) if node.output[:1] == [output])


def _nodes(
    node: NodeProto, branches: Mapping[str, Sequence[_Step]], taken: set[str]
) -> list[NodeProto]:
    """Return the nodes that take one's place, in the order in which they run; `branches` are named by their stems."""
    made: list[NodeProto] = []

    def make(stem: str, step: _Step, value: str, extra: Sequence[AttributeProto] = ()) -> str:
        name = fresh_name((node.name or node.output[0]) + stem, taken)
        output = fresh_name(node.output[0] + stem, taken)
        operands = [value, *step.operands]
        made.append(
            NodeProto(
                op_type=step.op, domain=node.domain, name=name, input=operands, output=[output]
            )
        )
        made[-1].attribute.extend([*extra, *step.attributes])
        return output

    turned = [helper.make_attribute("transA", 1)] if integer(node, "transA", 0) else []
    total = ""
    for stem, steps in branches.items():
        value = node.input[0]
        for number, step in enumerate(steps, start=1):
            value = make(f"{stem}_factor{number}", step, value, turned if number == 1 else [])
        total = make(f"{stem}_sum", _Step("Add", [value]), total) if total else value
    return made


def _steps(
    model: ModelProto,
    node: NodeProto,
    branch: str,
    layers: Sequence[Layer],
    data_type: int,
    taken: set[str],
) -> Iterator[_Step]:
    """Yield the nodes that do what the layers do, in the operators of the node that they replace."""

    def stored(name: str, values: Array) -> str:
        return _stored(model, fresh_name(name, taken), values, data_type)

    for number, layer in enumerate(layers, start=1):
        stem = f"{node.input[1]}{branch}_factor{number}"
        weight, bias = layer.weight, layer.bias
        if node.op_type == "MatMul":
            yield _Step("MatMul", [stored(stem, weight.T)])
            if bias is not None:
                yield _Step("Add", [stored(f"{stem}_bias", bias)])
            continue
        if (
            node.op_type == "Gemm"
            and bias is None
            and own_opset(model) < _FIRST_OPSET_OF_GEMM_WITHOUT_BIAS
        ):
            bias = np.zeros(len(weight), weight.dtype)
        operands = [stored(stem, weight)] + ([] if bias is None else [stored(f"{stem}_bias", bias)])
        if node.op_type == "Gemm":
            yield _Step("Gemm", operands, [helper.make_attribute("transB", 1)])
        else:
            op = "ConvTranspose" if layer.convolution.transposed else "Conv"
            yield _Step(op, operands, attributes(layer.convolution))


def _stored(model: ModelProto, name: str, weight: Array, data_type: int) -> str:
    stored = np.ascontiguousarray(weight).astype(helper.tensor_dtype_to_np_dtype(data_type))
    model.graph.initializer.append(numpy_helper.from_array(stored, name))
    if model.ir_version <= _LAST_IR_WITH_WEIGHTS_AS_INPUTS:
        model.graph.input.append(helper.make_tensor_value_info(name, data_type, weight.shape))
    return name


def _drop_unused(model: ModelProto, values: Iterable[str]) -> None:
    """Remove the constants behind these values, as far as nobody uses them."""
    graphs = list(all_graphs(model.graph))
    folded = {
        name: node
        for graph in graphs
        for node in graph.node
        if operator(node) in FOLDED
        for name in node.output
    }
    used, pending, gone = uses(model.graph), list(values), set[str]()
    while pending:
        value = pending.pop()
        if used[value] > 0 or value in gone:
            continue
        gone.add(value)
        if value in folded:
            inputs = folded[value].input
            used.subtract(inputs)
            pending += inputs
    for graph in graphs:
        _delete(graph.initializer, lambda tensor: tensor.name in gone)
        _delete(graph.input, lambda described: described.name in gone)
        _delete(graph.value_info, lambda described: described.name in gone)
        _delete(
            graph.node, lambda node: operator(node) in FOLDED and not gone.isdisjoint(node.output)
        )


def _delete(several: MutableSequence[Message], is_gone: Callable[[Message], bool]) -> None:
    for at in reversed(range(len(several))):
        if is_gone(several[at]):
            del several[at]

"""Putting chains of layers, which are summed, in the place of Conv, ConvTranspose, Gemm or MatMul nodes.

Before: the nodes share one weight and one bias, both constant. After: each is chains of nodes over one set of new
initializers; the value that it gave keeps its name; of what it took, what nobody else uses is gone.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from worker.engine.convolution import Array, Layer
from worker.engine.formats.onnx_constants import FOLDED
from worker.engine.formats.onnx_convolution import attributes
from worker.engine.formats.onnx_graph import all_graphs, fresh_name, integer, names, operator, own_opset, uses

_LAST_IR_WITH_WEIGHTS_AS_INPUTS = 3
"""Up to this IR version every initializer is listed among the inputs too."""

_FIRST_OPSET_OF_GEMM_WITHOUT_BIAS = 11


@dataclass(frozen=True)
class _Step:
    """One node of a chain: what it is, and what it takes besides the value that comes in."""

    op: str
    operands: Sequence[str]
    attributes: Sequence[AttributeProto] = ()


def replace_nodes(
    model: ModelProto, outputs: Collection[str], chains: Sequence[Sequence[Layer]], data_type: int
) -> None:
    """Replace the nodes that give these values, wherever they are, by the sum of chains.

    The old node becomes the last of the new ones, with other inputs and attributes, so that its name and documentation
    stay. New weights are stored in the main graph, which bodies see too, as `data_type`, an element type of ONNX.
    """
    places = [
        (graph, at)
        for graph in all_graphs(model.graph)
        for at, node in enumerate(graph.node)
        if node.output and node.output[0] in outputs
    ]
    graph, position = places[0]
    abandoned = [name for graph, at in places for name in graph.node[at].input[1:3]]
    taken = names(model.graph)
    stems = [""] if len(chains) == 1 else [f"_branch{number}" for number in range(1, len(chains) + 1)]
    branches = {
        stem: list(_steps(model, graph.node[position], stem, layers, data_type, taken))
        for stem, layers in zip(stems, chains, strict=True)
    }
    for graph, position in reversed(places):
        node = graph.node[position]
        *ahead, last = _nodes(node, branches, taken)
        node.op_type = last.op_type
        for name in ("input", "attribute"):
            node.ClearField(name)
            getattr(node, name).extend(getattr(last, name))
        for offset, link in enumerate(ahead):
            graph.node.insert(position + offset, link)
    _drop_unused(model, abandoned)


def _nodes(node: NodeProto, branches: Mapping[str, Sequence[_Step]], taken: set[str]) -> list[NodeProto]:
    """Return the nodes that take one's place, in the order in which they run; `branches` are named by their stems."""
    made: list[NodeProto] = []

    def make(stem: str, step: _Step, value: str, extra: Sequence[AttributeProto] = ()) -> str:
        name = fresh_name((node.name or node.output[0]) + stem, taken)
        output = fresh_name(node.output[0] + stem, taken)
        operands = [value, *step.operands]
        made.append(NodeProto(op_type=step.op, domain=node.domain, name=name, input=operands, output=[output]))
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
    model: ModelProto, node: NodeProto, branch: str, layers: Sequence[Layer], data_type: int, taken: set[str]
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
        if node.op_type == "Gemm" and bias is None and own_opset(model) < _FIRST_OPSET_OF_GEMM_WITHOUT_BIAS:
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
    used = uses(model.graph)
    pending = [value for value in values if value]
    while pending:
        value = pending.pop()
        if used[value] > 0:
            continue
        for graph in graphs:
            for initializer in [tensor for tensor in graph.initializer if tensor.name == value]:
                graph.initializer.remove(initializer)
            for place in (graph.input, graph.value_info):
                for described in [info for info in place if info.name == value]:
                    place.remove(described)
            for at, node in enumerate(graph.node):
                if value in node.output and operator(node) in FOLDED:
                    used.subtract(node.input)
                    pending += node.input
                    del graph.node[at]
                    break

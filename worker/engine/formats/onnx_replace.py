"""Putting a chain of layers in the place of Conv, ConvTranspose, Gemm or MatMul nodes.

Before: the nodes share one weight and one bias, both constant. After: each is a chain of nodes over one set of new
initializers; the value that it gave keeps its name; of what it took, what nobody else uses is gone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
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


def replace_nodes(model: ModelProto, outputs: Collection[str], layers: Sequence[Layer], data_type: int) -> None:
    """Replace the nodes that give these values, wherever they are, by layers that feed one another.

    The old node becomes the chain's last, with other inputs and attributes, so that its name and documentation stay.
    New weights are stored in the main graph, which bodies see too, as `data_type`, an element type of ONNX.
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
    steps = list(_steps(model, graph.node[position], layers, data_type, taken))
    for graph, position in reversed(places):
        last = graph.node[position]
        value, chain = last.input[0], []
        turned = [helper.make_attribute("transA", 1)] if integer(last, "transA", 0) else []
        for number, step in enumerate(steps[:-1], start=1):
            name = fresh_name(f"{last.name or last.output[0]}_factor{number}", taken)
            output = fresh_name(f"{last.output[0]}_factor{number}", taken)
            chain.append(NodeProto(domain=last.domain, name=name, output=[output]))
            _become(chain[-1], step, value, turned if number == 1 else [])
            value = output
        _become(last, steps[-1], value, turned if not chain else [])
        for offset, link in enumerate(chain):
            graph.node.insert(position + offset, link)
    _drop_unused(model, abandoned)


def _become(node: NodeProto, step: _Step, value: str, extra: Sequence[AttributeProto]) -> None:
    """Make a node do a step on a value."""
    node.op_type = step.op
    node.input[:] = [value, *step.operands]
    node.ClearField("attribute")
    node.attribute.extend([*extra, *step.attributes])


def _steps(
    model: ModelProto, node: NodeProto, layers: Sequence[Layer], data_type: int, taken: set[str]
) -> Iterator[_Step]:
    """Yield the nodes that do what the layers do, in the operators of the node that they replace."""

    def stored(name: str, values: Array) -> str:
        return _stored(model, fresh_name(name, taken), values, data_type)

    for number, layer in enumerate(layers, start=1):
        stem = f"{node.input[1]}_factor{number}"
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

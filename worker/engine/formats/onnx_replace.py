"""Putting a chain of convolutions in the place of Conv nodes.

Before: the nodes share one weight and one bias, both constant. After: each is a chain of Conv nodes over one set of new
initializers; the value that it gave keeps its name; of what it took, what nobody else uses is gone.
"""

from collections.abc import Collection, Iterable, Sequence

from onnx import ModelProto, NodeProto, helper, numpy_helper

from worker.engine.convolution import Array, Layer
from worker.engine.formats.onnx_convolution import attributes
from worker.engine.formats.onnx_graph import fresh_name, names, operator, uses

_LAST_IR_WITH_WEIGHTS_AS_INPUTS = 3
"""Up to this IR version every initializer is listed among the inputs too."""


def replace_convolutions(model: ModelProto, outputs: Collection[str], layers: Sequence[Layer], data_type: int) -> None:
    """Replace the Conv nodes of the main graph that give these values by layers that feed one another.

    The old node becomes the chain's last, with other inputs and attributes, so that its name and documentation stay.
    New weights are stored as `data_type`, an element type of ONNX.
    """
    graph = model.graph
    positions = [at for at, node in enumerate(graph.node) if node.output and node.output[0] in outputs]
    abandoned = list(graph.node[positions[0]].input[1:3])
    taken = names(graph)
    operands = []
    for number, layer in enumerate(layers, start=1):
        stem = f"{abandoned[0]}_factor{number}"
        weights = [_stored(model, fresh_name(stem, taken), layer.weight, data_type)]
        if layer.bias is not None:
            weights.append(_stored(model, fresh_name(f"{stem}_bias", taken), layer.bias, data_type))
        operands.append(weights)
    for position in reversed(positions):
        last = graph.node[position]
        chain = []
        value = last.input[0]
        for number, (layer, weights) in enumerate(zip(layers[:-1], operands[:-1], strict=True), start=1):
            name = fresh_name(f"{last.name or last.output[0]}_factor{number}", taken)
            output = fresh_name(f"{last.output[0]}_factor{number}", taken)
            link = NodeProto(op_type="Conv", domain=last.domain, name=name, input=[value, *weights], output=[output])
            link.attribute.extend(attributes(layer.convolution))
            chain.append(link)
            value = output
        last.input[:] = [value, *operands[-1]]
        last.ClearField("attribute")
        last.attribute.extend(attributes(layers[-1].convolution))
        for offset, link in enumerate(chain):
            graph.node.insert(position + offset, link)
    _drop_unused(model, abandoned)


def _stored(model: ModelProto, name: str, weight: Array, data_type: int) -> str:
    stored = weight.astype(helper.tensor_dtype_to_np_dtype(data_type))
    model.graph.initializer.append(numpy_helper.from_array(stored, name))
    if model.ir_version <= _LAST_IR_WITH_WEIGHTS_AS_INPUTS:
        model.graph.input.append(helper.make_tensor_value_info(name, data_type, weight.shape))
    return name


def _drop_unused(model: ModelProto, values: Iterable[str]) -> None:
    """Remove the constants behind these values, as far as nobody uses them."""
    graph = model.graph
    used = uses(graph)
    pending = [value for value in values if value]
    while pending:
        value = pending.pop()
        if used[value] > 0:
            continue
        for initializer in [tensor for tensor in graph.initializer if tensor.name == value]:
            graph.initializer.remove(initializer)
        for place in (graph.input, graph.value_info):
            for described in [info for info in place if info.name == value]:
                place.remove(described)
        for at, node in enumerate(graph.node):
            if value in node.output and operator(node) in ("Constant", "Identity"):
                used.subtract(node.input)
                pending += node.input
                del graph.node[at]
                break

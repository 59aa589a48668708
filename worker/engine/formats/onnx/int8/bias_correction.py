"""Bias correction: the mean error of each layer in int8 is taken from its bias.

Rounded weights shift the mean of a channel. Depthwise layers have few weights a channel, whose
errors do not cancel, and each shift changes the inputs of the layers behind.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019
(arXiv 1906.04721), section 4.2; the means are measured, layer by layer in the order of the graph.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from worker.engine.formats.onnx.graph import fresh_name, input_name, names, uses
from worker.engine.formats.onnx.int8.quantise import quantised
from worker.engine.formats.onnx.int8.ranges import Range, runner
from worker.engine.model import Inputs


def corrected(
    model: ModelProto,
    ranges: Mapping[str, Range],
    nodes: Collection[str],
    inputs: Sequence[Inputs],
) -> ModelProto:
    """Return a prepared model whose biases make up for these layers in int8.

    Layers without a stored bias have no place for a correction. The result is still in float.
    Runs the model in float and in int8 once a layer on each of the inputs, up to that layer.
    """
    result = ModelProto()
    result.CopyFrom(model)
    biases = {tensor.name: tensor for tensor in result.graph.initializer}
    counts = uses(result.graph)
    used_names = names(result.graph)
    for node in result.graph.node:
        bias = biases.get(input_name(node, 2))
        if node.name not in nodes or bias is None:
            continue
        in_int8 = _node(quantised(result, ranges, nodes), node.name)
        shift = _means(*in_int8, inputs) - _means(*_node(model, node.name), inputs)
        values = numpy_helper.to_array(bias) - shift
        if counts[bias.name] > 1:
            # what else reads it has another shift
            node.input[2] = fresh_name(f"{bias.name}_corrected", used_names)
            bias = result.graph.initializer.add(name=node.input[2])
        bias.CopyFrom(numpy_helper.from_array(values.astype(np.float32), bias.name))
    return result


def _node(model: ModelProto, name: str) -> tuple[ModelProto, NodeProto]:
    """Return a model, and its node of this name."""
    return model, next(node for node in model.graph.node if node.name == name)


def _means(
    model: ModelProto, node: NodeProto, inputs: Sequence[Inputs]
) -> NDArray[np.float64]:
    """Return the mean output of each channel of a layer; the model runs up to that layer.

    Inputs that give the layer no rows have no mean, and do not count. It is 0 where none gives any.
    """
    part = ModelProto()
    part.CopyFrom(model)
    # the runtime leaves out what leads to no output
    del part.graph.output[:]
    run = runner(part, [node.output[0]])
    total = np.zeros((), np.float64)
    count = 0
    for each in inputs:
        [values] = run(each)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        if values.size:
            total = total + values.mean(axis=axes, dtype=np.float64)
            count += 1
    return total / max(count, 1)

"""The tensors that stay in floats since they are what a model answers.

A classifier's answer is the largest of its outputs. In 8 bits several are equal to it: those of
nearly its size, and all that lie beyond the range that was measured on synthetic inputs.
"""

from onnx import ModelProto

from worker.engine.formats.onnx.graph import operator, uses

_KEEP_ORDER = (
    "Cast",
    "Flatten",
    "Identity",
    "LogSoftmax",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators that leave the largest number the largest."""


def answers(model: ModelProto) -> frozenset[str]:
    """Return the outputs of the main graph, and the tensors that become them in the same order.

    What another node reads as well is left out: that node may compute in int8.
    """
    use_counts = uses(model.graph)
    outputs = {value.name for value in model.graph.output}
    names = {name for name in outputs if use_counts[name] <= 1}
    for node in reversed(model.graph.node):
        if operator(node) not in _KEEP_ORDER or node.output[0] not in names:
            continue
        if use_counts[node.input[0]] == 1:
            names.add(node.input[0])
    return frozenset(names)

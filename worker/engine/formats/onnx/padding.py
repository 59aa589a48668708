"""Paddings as ONNX Runtime takes them into the layer behind: without naming inputs that they leave out.

Before: a Pad may name its value, and its axes, as nothing, as torch's exporter does. After: it ends with what it takes.
"""

from onnx import ModelProto

from worker.engine.formats.onnx.graph import all_nodes, operator


def shorten(model: ModelProto) -> None:
    """Drop what a main graph's paddings, and those of its bodies, name as nothing at their ends."""
    for node in all_nodes(model.graph.node):
        while operator(node) == "Pad" and node.input and not node.input[-1]:
            del node.input[-1]

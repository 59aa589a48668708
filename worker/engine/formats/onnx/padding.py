"""Pad nodes without empty inputs at their ends.

Before: a Pad may have empty names for its value and axes, as torch's exporter writes them.
After: its inputs end with one that has a name. ONNX Runtime fuses only those into the next layer.
"""

from onnx import ModelProto

from worker.engine.formats.onnx.graph import all_nodes, operator


def drop_empty_inputs(model: ModelProto) -> None:
    """Remove the empty inputs at the ends of all Pad nodes, bodies included.

    >>> from onnx import NodeProto
    >>> model = ModelProto()
    >>> model.graph.node.extend([NodeProto(op_type="Pad", input=["x", "pads", "", ""])])
    >>> drop_empty_inputs(model)
    >>> list(model.graph.node[0].input)
    ['x', 'pads']
    """
    for node in all_nodes(model.graph.node):
        if operator(node) != "Pad":
            continue
        while node.input and not node.input[-1]:
            del node.input[-1]

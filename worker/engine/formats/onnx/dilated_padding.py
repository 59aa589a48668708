"""Convolutions with SAME padding and dilation, which ONNX Runtime refuses: given explicit pads."""

from collections.abc import Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, helper

from worker.engine.formats.onnx.constants import constants
from worker.engine.formats.onnx.graph import all_graphs, integers, operator, text

_SAME = ("SAME_UPPER", "SAME_LOWER")


def write_pads_of_dilated(model: ModelProto) -> bool:
    """Give dilated convolutions of stride 1 the pads that their rule means; return whether any.

    With a stride the pads depend on the size of the input, and the rule stays.
    """
    changed = False
    for graph in all_graphs(model.graph):
        dilated = [node for node in graph.node if _is_dilated(node)]
        if not dilated:
            continue
        kernels = _kernels(model.graph)
        for node in dilated:
            kernel = integers(node, "kernel_shape") or kernels.get(node.input[1], ())
            changed |= _write_pads(node, kernel)
    return changed


def _is_dilated(node: NodeProto) -> bool:
    """Return whether a node is a convolution of stride 1 with dilation and SAME padding."""
    if operator(node) != "Conv" or text(node, "auto_pad", "NOTSET") not in _SAME:
        return False
    if max(integers(node, "strides") or (1,)) > 1:
        return False
    return max(integers(node, "dilations") or (1,)) > 1


def _kernels(graph: GraphProto) -> Mapping[str, tuple[int, ...]]:
    """Return the kernel of each constant, were it the weight of a convolution."""
    return {name: constant.shape[2:] for name, constant in constants(graph).items()}


def _write_pads(node: NodeProto, kernel: Sequence[int]) -> bool:
    """Replace the rule of a convolution by pads; return whether its kernel is known."""
    dilations = integers(node, "dilations") or ()
    if not kernel or len(kernel) != len(dilations):
        return False
    totals = [
        dilation * (size - 1) for dilation, size in zip(dilations, kernel, strict=True)
    ]
    smaller = [total // 2 for total in totals]
    larger = [total - part for total, part in zip(totals, smaller, strict=True)]
    is_upper = text(node, "auto_pad", "NOTSET") == "SAME_UPPER"
    pads = [*smaller, *larger] if is_upper else [*larger, *smaller]
    kept = [each for each in node.attribute if each.name not in ("auto_pad", "pads")]
    node.ClearField("attribute")
    node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    return True

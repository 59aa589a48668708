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
    if operator(node) != "Conv":
        return False
    rule = text(node, "auto_pad", "NOTSET")
    if rule not in _SAME:
        return False
    strides = integers(node, "strides") or (1,)
    if max(strides) > 1:
        return False
    dilations = integers(node, "dilations") or (1,)
    return max(dilations) > 1


def _kernels(graph: GraphProto) -> Mapping[str, tuple[int, ...]]:
    """Return the kernel of each constant, were it the weight of a convolution."""
    by_name = constants(graph)
    return {name: constant.shape[2:] for name, constant in by_name.items()}


def _write_pads(node: NodeProto, kernel: Sequence[int]) -> bool:
    """Replace the rule of a convolution by pads; return whether its kernel is known."""
    dilations = integers(node, "dilations") or ()
    if not kernel or len(kernel) != len(dilations):
        return False
    extents = zip(dilations, kernel, strict=True)
    totals = [dilation * (size - 1) for dilation, size in extents]
    smaller = [total // 2 for total in totals]
    pairs = zip(totals, smaller, strict=True)
    larger = [total - part for total, part in pairs]
    rule = text(node, "auto_pad", "NOTSET")
    is_upper = rule == "SAME_UPPER"
    pads = [*smaller, *larger] if is_upper else [*larger, *smaller]
    kept = [each for each in node.attribute if each.name not in ("auto_pad", "pads")]
    node.ClearField("attribute")
    attribute = helper.make_attribute("pads", pads)
    node.attribute.extend([*kept, attribute])
    return True

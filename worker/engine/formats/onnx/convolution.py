"""ONNX Conv and ConvTranspose nodes, read as geometry and written back.

Source: the operators' specification, opset 1 to the newest that onnx knows; their attributes have not changed since.
"""

from collections.abc import Sequence

from onnx import AttributeProto, NodeProto, helper

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import integer, integers, text
from worker.engine.numerics.convolution import Convolution, Padding

_SAME: dict[str, Padding] = {"SAME_UPPER": "same_upper", "SAME_LOWER": "same_lower"}


def geometry(node: NodeProto, weight_shape: Sequence[int]) -> Convolution:
    """Return the geometry of a Conv or ConvTranspose node with a weight of this shape.

    Raises:
        Refusal: `model_invalid` where attributes and weight contradict each other.

    >>> geometry(helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 0, 1, 0], strides=[2, 1]), (8, 4, 3, 1))
    Convolution(weight_shape=(8, 4, 3, 1), stride=(2, 1), padding=((1, 1), (0, 0)), dilation=(1, 1), \
groups=1, transposed=False, output_padding=())
    """
    kernel = tuple(weight_shape[2:])
    axes = len(kernel)
    ones = (1,) * axes
    transposed = node.op_type == "ConvTranspose"
    stride = integers(node, "strides") or ones
    dilation = integers(node, "dilations") or ones
    groups = integer(node, "group", 1)
    output_padding = (integers(node, "output_padding") or (0,) * axes) if transposed else ()
    if axes == 0 or min(weight_shape) < 1:
        raise _invalid(node, f"a weight of shape {tuple(weight_shape)}")
    if (integers(node, "kernel_shape") or kernel) != kernel:
        raise _invalid(
            node,
            f"kernel_shape {integers(node, 'kernel_shape')} and a weight of shape {weight_shape}",
        )
    if not len(stride) == len(dilation) == axes or min(*stride, *dilation) < 1:
        raise _invalid(
            node, f"strides {stride} and dilations {dilation} for a kernel of {axes} axes"
        )
    if groups < 1 or weight_shape[0] % groups:
        raise _invalid(node, f"{groups} groups and a weight of shape {tuple(weight_shape)}")
    if transposed and len(output_padding) != axes:
        raise _invalid(node, f"output_padding {output_padding} for a kernel of {axes} axes")
    padding = _padding(node, axes)
    return Convolution(
        tuple(weight_shape), stride, padding, dilation, groups, transposed, output_padding
    )


def attributes(convolution: Convolution) -> list[AttributeProto]:
    """Return the attributes of a Conv or ConvTranspose node with this geometry, all of them spelled out."""
    values: dict[str, int | str | Sequence[int]] = {
        "dilations": convolution.dilation,
        "group": convolution.groups,
        "kernel_shape": convolution.kernel,
        "strides": convolution.stride,
    }
    if convolution.transposed:
        values["output_padding"] = convolution.output_padding
    if isinstance(convolution.padding, str):
        values["auto_pad"] = convolution.padding.upper()
    else:
        before, behind = zip(*convolution.padding, strict=True)
        values["pads"] = (*before, *behind)
    return [helper.make_attribute(name, value) for name, value in sorted(values.items())]


def _padding(node: NodeProto, axes: int) -> Padding:
    rule = text(node, "auto_pad", "NOTSET")
    if rule in _SAME:
        return _SAME[rule]
    pads = (
        (integers(node, "pads") or (0,) * 2 * axes) if rule in ("NOTSET", "") else (0,) * 2 * axes
    )
    if rule not in ("NOTSET", "", "VALID") or len(pads) != 2 * axes or min(pads) < 0:
        raise _invalid(node, f"auto_pad {rule!r} and pads {pads} for a kernel of {axes} axes")
    return tuple(zip(pads[:axes], pads[axes:], strict=True))


def _invalid(node: NodeProto, got: str) -> Refusal:
    return Refusal(
        Code.MODEL_INVALID,
        f"the {node.op_type} node {node.name or node.output[0]!r} contradicts itself: {got}",
        field=FIELD,
        expected="convolutions whose attributes fit their weights",
        got=got,
    )

"""ONNX Conv and ConvTranspose nodes: read as geometry, and written back.

Source: the operators' specification, from opset 1 to the newest that onnx knows. Their attributes
have not changed since.
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

    >>> node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 0, 1, 0], strides=[2, 1])
    >>> convolution = geometry(node, (8, 4, 3, 1))
    >>> convolution.stride, convolution.padding, convolution.dilation, convolution.groups
    ((2, 1), ((1, 1), (0, 0)), (1, 1), 1)
    """
    kernel = tuple(weight_shape[2:])
    axes = len(kernel)
    ones = (1,) * axes
    transposed = node.op_type.startswith("ConvTranspose")
    stride = integers(node, "strides") or ones
    dilation = integers(node, "dilations") or ones
    groups = integer(node, "group", 1)
    output_padding: tuple[int, ...] = ()
    if transposed:
        zeros = (0,) * axes
        output_padding = integers(node, "output_padding") or zeros
    shape = tuple(weight_shape)
    shape_text = f"a weight of shape {shape}"
    if axes == 0 or min(weight_shape) < 1:
        raise _invalid(node, shape_text)
    # The attribute repeats the weight's shape, or is omitted.
    kernel_shape = integers(node, "kernel_shape") or kernel
    if kernel_shape != kernel:
        raise _invalid(node, f"kernel_shape {kernel_shape} and {shape_text}")
    have_all_axes = len(stride) == len(dilation) == axes
    if not have_all_axes or min(*stride, *dilation) < 1:
        detail = (
            f"strides {stride} and dilations {dilation} for a kernel of {axes} axes"
        )
        raise _invalid(node, detail)
    if groups < 1 or weight_shape[0] % groups:
        raise _invalid(node, f"{groups} groups and {shape_text}")
    if transposed and len(output_padding) != axes:
        detail = f"output_padding {output_padding} for a kernel of {axes} axes"
        raise _invalid(node, detail)
    return Convolution(
        weight_shape=shape,
        stride=stride,
        padding=_padding(node, axes),
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        output_padding=output_padding,
    )


def attributes(convolution: Convolution) -> list[AttributeProto]:
    """Return all attributes of a Conv or ConvTranspose node with this geometry, by name.

    >>> convolution = Convolution((8, 4, 3), (2,), ((1, 0),), (1,))
    >>> {each.name: helper.get_attribute_value(each) for each in attributes(convolution)}
    {'dilations': [1], 'group': 1, 'kernel_shape': [3], 'pads': [1, 0], 'strides': [2]}
    """
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
        # ONNX lists the pads before all axes first, then those after.
        before, after = zip(*convolution.padding, strict=True)
        values["pads"] = (*before, *after)
    return [
        helper.make_attribute(name, value) for name, value in sorted(values.items())
    ]


def _padding(node: NodeProto, axes: int) -> Padding:
    """Return the zeros before and after each axis, or the rule that they follow."""
    rule = text(node, "auto_pad", "NOTSET")
    if rule in _SAME:
        return _SAME[rule]
    # VALID ignores pads, as ONNX Runtime does.
    pads: tuple[int, ...] = (0,) * 2 * axes
    if rule in ("NOTSET", ""):
        pads = integers(node, "pads") or pads
    detail = f"auto_pad {rule!r} and pads {pads} for a kernel of {axes} axes"
    if rule not in ("NOTSET", "", "VALID"):
        raise _invalid(node, detail)
    if len(pads) != 2 * axes or min(pads) < 0:
        raise _invalid(node, detail)
    before = pads[:axes]
    after = pads[axes:]
    return tuple(zip(before, after, strict=True))


def _invalid(node: NodeProto, got: str) -> Refusal:
    name = node.name or node.output[0]
    return Refusal(
        Code.MODEL_INVALID,
        f"the {node.op_type} node {name!r} contradicts itself: {got}",
        field=FIELD,
        expected="convolutions whose attributes fit their weights",
        got=got,
    )

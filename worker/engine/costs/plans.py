"""The layers that a cost table is measured with: one at each point of each kind's grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from worker.engine.costs.kinds import (
    CONVERTED_CHANNELS,
    INT8_BLOCK,
    added_kind,
    int8_kind,
    is_blocked_in_int8,
)
from worker.engine.numerics.convolution import Convolution

_GROUPED_CHANNELS = 64
"""The most channels of one group, and of all groups where these are narrow."""
_SIDES: tuple[int, ...] = (1, 2, 4, 7, 14, 28, 56, 112, 224)
_SIDES_OF_OTHERS: tuple[int, ...] = (2, 4, 7, 14, 28)
"""The sides of layers with other than two axes and with groups."""
_IN_BLOCKS = (16, 32, 128, 512)
_OUT_OF_BLOCKS = (3, 4, 12, 36, 132, 516)
"""Channels that fill whole blocks of 8 and of 16, and channels that do not."""
_KINDS_IN_INT8 = (
    *("1x1", "3x3", "1x3", "3x1", "5x5", "7x7"),
    *("ragged 1x1", "ragged 3x3", "depthwise 3x3", "linear"),
)
"""Kinds of layers that are written in int8: those of groups with several channels are not."""
_KINDS_ADDED = ("1x1",)
"""Kinds of layers whose outputs are added: what it takes more depends on the outputs alone."""


@dataclass(frozen=True)
class Plan:
    """The axes of a grid, and the layer at each of its points.

    The points are all triples of input channels, output channels and a side.

    Attributes:
        inputs: input channels, as `Grid` counts them.
        outputs: output channels, likewise.
        sides: the sides of square inputs; the square roots of the batches of linear layers, and of
            the lengths of layers with one axis.
        layer: returns the layer with these input and output channels.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sides: tuple[int, ...]
    layer: Callable[[int, int], Convolution]

    def size(self, side: int) -> tuple[tuple[int, ...], int]:
        """Return a layer's (spatial size, batch) at a side."""
        axes = len(self.layer(self.inputs[0], self.outputs[0]).kernel)
        if axes == 0:
            return (), side * side
        if axes == 1:
            return (side * side,), 1
        return (side,) * axes, 1


def _layer(
    kernel: tuple[int, ...], inputs: int, outputs: int, groups: int = 1
) -> Convolution:
    """Return a layer at stride 1 with padding that keeps the size of its input.

    Args:
        kernel: the kernel's size along each axis; `()` for a linear layer.
        inputs: the input channels of one group.
        outputs: the output channels of one group.
        groups: the number of groups.
    """
    ones = (1,) * len(kernel)
    return Convolution(
        weight_shape=(outputs * groups, inputs, *kernel),
        stride=ones,
        padding=tuple((size // 2, size // 2) for size in kernel),
        dilation=ones,
        groups=groups,
    )


def _transposed(
    kernel: tuple[int, ...], inputs: int, outputs: int, groups: int = 1
) -> Convolution:
    """Return a transposed layer that doubles its input along each axis."""
    axes = len(kernel)
    # (size - 1) * 2 + kernel - padding + output_padding = 2 * size
    paddings = tuple(((size - 1) // 2, (size - 1) // 2) for size in kernel)
    return Convolution(
        weight_shape=(inputs * groups, outputs, *kernel),
        stride=(2,) * axes,
        padding=paddings,
        dilation=(1,) * axes,
        groups=groups,
        transposed=True,
        output_padding=tuple(size % 2 for size in kernel),
    )


def _powers(first: int, last: int, factor: int = 2) -> tuple[int, ...]:
    """Return the numbers from `first` to `last`, each `factor` times the one before.

    >>> _powers(4, 64), _powers(4, 64, 4)
    ((4, 8, 16, 32, 64), (4, 16, 64))
    """
    numbers = []
    number = first
    while number <= last:
        numbers.append(number)
        number *= factor
    return tuple(numbers)


def _dense(high: int, wide: int) -> Plan:
    """Plan layers of one group; those of large kernels have a coarse grid."""
    inputs = _powers(4, 1024)
    outputs = _powers(8, 1024)
    if max(high, wide) > 3:
        inputs = _powers(4, 256, 4)
        outputs = _powers(16, 256, 4)
    return Plan(inputs, outputs, _SIDES, partial(_layer, (high, wide)))


def _few(high: int, wide: int) -> Plan:
    """Plan layers of few input channels, as of images; wide kernels have a stride, as stems do."""
    layer = partial(_layer, (high, wide))
    sides: tuple[int, ...] = _SIDES[2:]
    if max(high, wide) > 3:
        layer = partial(_strided, layer)
        sides = tuple(2 * side for side in sides)
    return Plan((1, 3), _powers(4, 128), sides, layer)


def _strided(
    layer: Callable[[int, int], Convolution], inputs: int, outputs: int
) -> Convolution:
    """Return a layer with a stride of two along the axes that its kernel extends over."""
    whole = layer(inputs, outputs)
    return replace(whole, stride=tuple(min(size, 2) for size in whole.kernel))


def _ragged(size: int) -> Plan:
    """Plan layers whose input channels are no multiple of `EVEN`."""
    layer = partial(_layer, (size, size))
    inputs = tuple(power - 1 for power in _powers(2, 512))
    return Plan(inputs, _powers(8, 512, 4), _SIDES, layer)


def _with_groups(inputs: int, outputs: int) -> int:
    """Return the number of groups of a planned layer: fewer where these are wide."""
    return max(2, _GROUPED_CHANNELS // max(inputs, outputs))


def _grouped(kernel: tuple[int, ...]) -> Plan:
    """Plan layers of several groups."""

    def layer(inputs: int, outputs: int) -> Convolution:
        groups = _with_groups(inputs, outputs)
        return _layer(kernel, inputs, outputs, groups)

    channels = _powers(2, _GROUPED_CHANNELS)
    sides = _SIDES_OF_OTHERS
    if len(kernel) == 2:
        sides = _SIDES[3:]
    return Plan(channels, channels, sides, layer)


def _depthwise(kernel: tuple[int, ...], channels: tuple[int, ...]) -> Plan:
    """Plan layers with a group for each input channel."""

    def layer(groups: int, outputs: int) -> Convolution:
        return _layer(kernel, 1, outputs, groups)

    sides = _SIDES_OF_OTHERS
    if len(kernel) == 2:
        sides = _SIDES[1:]
    filters = _powers(1, 8)
    return Plan(channels, filters, sides, layer)


def _strided_depthwise(size: int) -> Plan:
    """Plan depthwise layers with a stride, outside of blocks."""
    depthwise = _depthwise((size, size), _OUT_OF_BLOCKS)
    layer = partial(_strided, depthwise.layer)
    outputs = _SIDES[2:8]
    sides = tuple(2 * side for side in outputs)
    channels = _OUT_OF_BLOCKS[:5]
    filters = _powers(1, 16)
    return Plan(channels, filters, sides, layer)


def _transposed_plan(kernel: tuple[int, ...], *, grouped: bool = False) -> Plan:
    """Plan transposed layers, with sides of their inputs."""
    layer = partial(_transposed, kernel)
    sides: tuple[int, ...] = (2, 4, 7, 14)
    if len(kernel) == 2:
        sides = (2, 4, 7, 14, 28, 56, 112)
    if not grouped:
        channels = _powers(4, 1024, 4)
        return Plan(channels, channels, sides, layer)

    def in_groups(inputs: int, outputs: int) -> Convolution:
        groups = _with_groups(inputs, outputs)
        return layer(inputs, outputs, groups)

    channels = _powers(2, _GROUPED_CHANNELS, 4)
    larger_sides = sides[1:]
    return Plan(channels, channels, larger_sides, in_groups)


def _line(size: int) -> Plan:
    """Plan layers with one spatial axis."""
    inputs = _powers(1, 1024, 4)
    outputs = _powers(4, 1024, 4)
    lengths = _powers(1, 128)
    layer = partial(_layer, (size,))
    return Plan(inputs, outputs, lengths, layer)


def _cube(size: int) -> Plan:
    """Plan layers with three spatial axes."""
    inputs = _powers(1, 256, 4)
    outputs = _powers(4, 256, 4)
    sides = (1, 2, 4, 7, 14, 28, 56)
    layer = partial(_layer, (size, size, size))
    return Plan(inputs, outputs, sides, layer)


def _linear() -> Plan:
    """Plan linear layers, whose sides stand for the batches 1, 4, 16, 64 and 256."""
    return Plan(
        inputs=_powers(16, 4096, 4),
        outputs=_powers(4, 4096, 4),
        sides=_powers(1, 16),
        layer=partial(_layer, ()),
    )


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "1x1": _dense(1, 1),
        "3x3": _dense(3, 3),
        "1x3": _dense(1, 3),
        "3x1": _dense(3, 1),
        "5x5": _dense(5, 5),
        "7x7": _dense(7, 7),
        "few 1x1": _few(1, 1),
        "few 1x3": _few(1, 3),
        "few 3x1": _few(3, 1),
        "few 1x7": _few(1, 7),
        "few 7x1": _few(7, 1),
        "few 3x3": _few(3, 3),
        "few 7x7": _few(7, 7),
        "ragged 1x1": _ragged(1),
        "ragged 3x3": _ragged(3),
        "grouped 1x1": _grouped((1, 1)),
        "grouped 3x3": _grouped((3, 3)),
        "depthwise 1x1": _depthwise((1, 1), _IN_BLOCKS),
        "depthwise 3x3": _depthwise((3, 3), _IN_BLOCKS),
        "depthwise 1x3": _depthwise((1, 3), _IN_BLOCKS),
        "depthwise 3x1": _depthwise((3, 1), _IN_BLOCKS),
        "depthwise 7x7": _depthwise((7, 7), _IN_BLOCKS[:3]),
        "ragged depthwise 3x3": _depthwise((3, 3), _OUT_OF_BLOCKS),
        "ragged depthwise 7x7": _depthwise((7, 7), _OUT_OF_BLOCKS[:5]),
        "strided depthwise 3x3": _strided_depthwise(3),
        "strided depthwise 7x7": _strided_depthwise(7),
        "transposed 2x2": _transposed_plan((2, 2)),
        "transposed 3x3": _transposed_plan((3, 3)),
        "transposed 4x4": _transposed_plan((4, 4)),
        "transposed grouped": _transposed_plan((3, 3), grouped=True),
        "1d 1": _line(1),
        "1d 3": _line(3),
        "1d 7": _line(7),
        "1d depthwise": _depthwise((3,), _IN_BLOCKS),
        "1d grouped": _grouped((3,)),
        "1d transposed": _transposed_plan((4,)),
        "3d 1": _cube(1),
        "3d 3": _cube(3),
        "3d depthwise": _depthwise((3, 3, 3), _IN_BLOCKS[:3]),
        "3d grouped": _grouped((3, 3, 3)),
        "3d transposed": _transposed_plan((2, 2, 2)),
        "linear": _linear(),
    }
)
"""The plans by the kinds of their layers, as `kind_of` names them."""


def int8_plans(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Return the plans of layers in int8: every second size of inputs, to spare time.

    Outputs of less than a block cost as much as a block.
    """
    own: dict[str, Plan] = {}
    for kind in _KINDS_IN_INT8:
        if kind not in plans:
            continue
        plan = plans[kind]
        outputs = plan.outputs
        if is_blocked_in_int8(plan.layer(plan.inputs[0], outputs[0])):
            outputs = tuple(number for number in outputs if number >= INT8_BLOCK)
        own[int8_kind(kind)] = replace(plan, inputs=plan.inputs[::2], outputs=outputs)
    return own


def conversion_plan() -> Plan:
    """Return the plan of tensors that are turned into int8 and back.

    A multiply-accumulate stands for one of their numbers.
    """
    return Plan(
        inputs=(CONVERTED_CHANNELS,),
        outputs=(1,),
        sides=_SIDES[2:],
        layer=PLANS["depthwise 1x1"].layer,
    )


def added_plans(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """Return the plans of layers that add their outputs: every second size of inputs.

    Outputs are as fine as without the addition, since the difference of both is its price.
    """
    added: dict[str, Plan] = {}
    for kind in _KINDS_ADDED:
        if kind in plans:
            added[added_kind(kind)] = replace(
                plans[kind], inputs=plans[kind].inputs[::2]
            )
    return added

"""The benchmark of a cost table: one layer of each shape, alone on one thread of the runtime."""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from math import prod

from convpress.formats import FORMATS, Format
from worker.engine.costs import int8_prices
from worker.engine.costs.table import CostTable, Grid, int8_kind
from worker.engine.formats import adapter_of
from worker.engine.formats.adapter import Stopwatch
from worker.engine.numerics.convolution import Convolution

_MOST_MACS = 250_000_000
_MOST_NUMBERS = 8_000_000
"""In a layer's inputs, outputs and weights together: larger layers take longer, to no gain."""
_ROUNDS = 2
"""A host that is busy for some seconds spoils one round: the faster one of both counts."""
_GROUPED_CHANNELS = 64
"""The most channels of one group, and of all groups where these are narrow."""
_KINDS_IN_INT8 = (
    *("1x1", "3x3", "1x3", "3x1", "5x5", "7x7"),
    *("ragged 1x1", "ragged 3x3", "depthwise 3x3", "linear"),
)
"""Kinds of layers that are written in int8: those of groups with several channels are not."""
_SIDES = (1, 2, 4, 7, 14, 28, 56, 112, 224)


@dataclass(frozen=True)
class _Plan:
    """The axes of a grid, and the layer at each of its points.

    The points are all triples of input channels, output channels and a side.

    Attributes:
        inputs: input channels, as `Grid` counts them.
        outputs: output channels, likewise.
        sides: the sides of square outputs; the square roots of the batches of linear layers.
        layer: returns the layer with these input and output channels.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    sides: tuple[int, ...]
    layer: Callable[[int, int], Convolution]


def _layer(kernel: tuple[int, ...], inputs: int, outputs: int, groups: int = 1) -> Convolution:
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


def _dense(high: int, wide: int) -> _Plan:
    """Plan layers of one group; wide kernels take long, and so have a coarse grid."""
    inputs = _powers(4, 1024)
    outputs = _powers(8, 1024)
    if max(high, wide) > 3:
        inputs = _powers(4, 256, 4)
        outputs = _powers(16, 256, 4)
    return _Plan(inputs, outputs, _SIDES, partial(_layer, (high, wide)))


def _ragged(size: int) -> _Plan:
    """Plan layers whose input channels are no multiple of `EVEN`."""
    layer = partial(_layer, (size, size))
    inputs = tuple(power - 1 for power in _powers(2, 512))
    return _Plan(inputs, _powers(8, 512, 4), _SIDES, layer)


def _grouped(size: int) -> _Plan:
    """Plan layers of several groups, with fewer groups where these are wide."""

    def layer(inputs: int, outputs: int) -> Convolution:
        widest = max(inputs, outputs)
        groups = max(2, _GROUPED_CHANNELS // widest)
        return _layer((size, size), inputs, outputs, groups)

    channels = _powers(2, _GROUPED_CHANNELS)
    return _Plan(channels, channels, _SIDES[3:], layer)


def _depthwise(high: int, wide: int) -> _Plan:
    """Plan layers with a group for each input channel."""

    def layer(channels: int, outputs: int) -> Convolution:
        return _layer((high, wide), 1, outputs, channels)

    channels = (4, 8, 32, 128, 512)
    return _Plan(channels, _powers(1, 8), _SIDES[1:], layer)


def _linear() -> _Plan:
    """Plan linear layers, whose sides stand for the batches 1, 4, 16, 64 and 256."""
    return _Plan(
        inputs=_powers(16, 4096, 4),
        outputs=_powers(4, 4096, 4),
        sides=_powers(1, 16),
        layer=partial(_layer, ()),
    )


_PLANS = {
    "1x1": _dense(1, 1),
    "3x3": _dense(3, 3),
    "1x3": _dense(1, 3),
    "3x1": _dense(3, 1),
    "5x5": _dense(5, 5),
    "7x7": _dense(7, 7),
    "ragged 1x1": _ragged(1),
    "ragged 3x3": _ragged(3),
    "grouped 1x1": _grouped(1),
    "grouped 3x3": _grouped(3),
    "depthwise 1x1": _depthwise(1, 1),
    "depthwise 3x3": _depthwise(3, 3),
    "depthwise 1x3": _depthwise(1, 3),
    "depthwise 3x1": _depthwise(3, 1),
    "linear": _linear(),
}


def int8_plans(plans: Mapping[str, _Plan]) -> dict[str, _Plan]:
    """Return the plans of layers in int8: every second size of inputs, to spare time.

    Outputs of less than a block cost as much as a block.
    """
    own: dict[str, _Plan] = {}
    for kind in _KINDS_IN_INT8:
        if kind not in plans:
            continue
        plan = plans[kind]
        outputs = plan.outputs
        if int8_prices.is_blocked(plan.layer(plan.inputs[0], outputs[0])):
            outputs = tuple(number for number in outputs if number >= int8_prices.BLOCK)
        own[int8_kind(kind)] = replace(plan, inputs=plan.inputs[::2], outputs=outputs)
    return own


def _conversions() -> _Plan:
    """Plan tensors that are turned into int8 and back; a MAC stands for one of their numbers."""
    return _Plan(
        inputs=(int8_prices.CHANNELS,),
        outputs=(1,),
        sides=_SIDES[2:],
        layer=_PLANS["depthwise 1x1"].layer,
    )


def measure(model_format: Format, within: Callable[[int, int], None]) -> CostTable:
    """Measure a table of this host.

    Args:
        model_format: the format whose runtime is measured.
        within: receives the number of grids that are done, and the number of all.

    Returns:
        a table with a grid of every kind.
    """
    adapter = adapter_of(model_format)
    watch, layer_ns = adapter.stopwatch()
    work = [(kind, plan, watch) for kind, plan in _PLANS.items()]
    int8_watch = adapter.int8_stopwatch
    if int8_watch is not None and adapter.conversion_stopwatch is not None:
        work.append((int8_prices.CONVERSION, _conversions(), adapter.conversion_stopwatch))
        work += [(kind, plan, int8_watch) for kind, plan in int8_plans(_PLANS).items()]
    grids: dict[str, Grid] = {}
    for done, (kind, plan, own_watch) in enumerate(_ROUNDS * work):
        within(done, _ROUNDS * len(work))
        grid = _measured(plan, own_watch)
        earlier = grids.get(kind, grid)
        grids[kind] = _least(earlier, grid)
    runtime = FORMATS[model_format].runtime
    return CostTable(
        format=model_format,
        runtime=f"{runtime} {version(runtime)}",
        host=f"{platform.machine()} {_processor()}",
        layer_ns=layer_ns,
        grids=grids,
    )


def _least(one: Grid, other: Grid) -> Grid:
    """Return the lower rates of two grids with the same axes, point by point."""
    planes = []
    for one_plane, other_plane in zip(one.ns_per_mac, other.ns_per_mac, strict=True):
        plane = []
        for one_row, other_row in zip(one_plane, other_plane, strict=True):
            row = map(_lower, one_row, other_row)
            plane.append(tuple(row))
        planes.append(tuple(plane))
    return replace(one, ns_per_mac=tuple(planes))


def _lower(one: float | None, other: float | None) -> float | None:
    """Return the lower of two rates; None where the point was not measured."""
    if one is None or other is None:
        return None
    return min(one, other)


def _measured(plan: _Plan, watch: Stopwatch) -> Grid:
    """Measure the layer at each point of a plan."""
    planes = []
    for inputs in plan.inputs:
        plane = []
        for outputs in plan.outputs:
            row = _row(plan, inputs, outputs, watch)
            plane.append(tuple(row))
        planes.append(tuple(plane))
    positions = tuple(side * side for side in plan.sides)
    return Grid(plan.inputs, plan.outputs, positions, tuple(planes))


def _row(plan: _Plan, inputs: int, outputs: int, watch: Stopwatch) -> Iterator[float | None]:
    """Yield the rates of one layer by size, None where it is large.

    The smallest size is always measured.
    """
    layer = plan.layer(inputs, outputs)
    smallest = plan.sides[0]
    for side in plan.sides:
        size: tuple[int, ...] = (side, side)
        batch = 1
        if not layer.kernel:
            # the positions of a linear layer are its batch
            size = ()
            batch = side * side
        if side != smallest and _is_large(layer, size, batch):
            yield None
            continue
        nanoseconds = watch(layer, size, batch)
        # the clock may show no time at all, but rates are positive
        yield max(nanoseconds, 1.0) / layer.macs(size, batch)


def _is_large(layer: Convolution, size: tuple[int, ...], batch: int) -> bool:
    """Whether a layer takes too long, or too much memory, to be measured."""
    if layer.macs(size, batch) > _MOST_MACS:
        return True
    channels = layer.in_channels + layer.out_channels
    activations = batch * prod(size) * channels
    weights = prod(layer.weight_shape)
    return activations + weights > _MOST_NUMBERS


def _processor() -> str:
    """Return the processor's name from Linux."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a line, not a file
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown"

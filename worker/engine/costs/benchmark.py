"""The benchmark of a cost table: one layer of each shape, alone on one thread of the runtime."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod

from convpress.formats import FORMATS, Format
from worker.engine.costs.table import CostTable, Grid
from worker.engine.formats import adapter_of
from worker.engine.formats.adapter import Stopwatch
from worker.engine.numerics.convolution import Convolution

_MOST_MACS = 250_000_000
_MOST_NUMBERS = 8_000_000
"""In a layer's inputs, outputs and weights together: larger layers take longer, to no gain."""
_ROUNDS = 2
"""A host that is busy for some seconds spoils one round: the faster one of both counts."""
_SIDES = (1, 2, 4, 7, 14, 28, 56, 112, 224)


@dataclass(frozen=True)
class _Plan:
    """The axes of a grid, and the layer at each of its points.

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
    ones = (1,) * len(kernel)
    padding = tuple((size // 2, size // 2) for size in kernel)
    return Convolution((outputs * groups, inputs, *kernel), ones, padding, ones, groups)


def _dense(high: int, wide: int) -> _Plan:
    inputs: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    outputs: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    if max(high, wide) > 3:
        inputs, outputs = (4, 16, 64, 256), (16, 64, 256)
    return _Plan(inputs, outputs, _SIDES, lambda c, n: _layer((high, wide), c, n))


def _ragged(size: int) -> _Plan:
    inputs, outputs = (1, 3, 7, 15, 31, 63, 127, 255, 511), (8, 32, 128, 512)
    return _Plan(inputs, outputs, _SIDES, lambda c, n: _layer((size, size), c, n))


def _grouped(size: int) -> _Plan:
    channels = (2, 4, 8, 16, 32, 64)

    def layer(inputs: int, outputs: int) -> Convolution:
        groups = max(2, 64 // max(inputs, outputs))
        return _layer((size, size), inputs, outputs, groups)

    return _Plan(channels, channels, _SIDES[3:], layer)


def _depthwise(high: int, wide: int) -> _Plan:
    inputs, outputs = (4, 8, 32, 128, 512), (1, 2, 4, 8)
    return _Plan(inputs, outputs, _SIDES[1:], lambda c, m: _layer((high, wide), 1, m, c))


def _linear() -> _Plan:
    inputs, outputs = (16, 64, 256, 1024, 4096), (4, 16, 64, 256, 1024, 4096)
    return _Plan(inputs, outputs, (1, 2, 4, 8, 16), lambda c, n: _layer((), c, n))


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


def measure(format: Format, within: Callable[[int, int], None]) -> CostTable:  # noqa: A002 - as above
    """Measure a table of this host.

    Args:
        format: the format whose runtime is measured.
        within: receives the number of grids that are done, and the number of all.

    Returns:
        a table with a grid of every kind.
    """
    watch, layer_ns = adapter_of(format).stopwatch()
    grids: dict[str, Grid] = {}
    for done, (kind, plan) in enumerate(_ROUNDS * [*_PLANS.items()]):
        within(done, _ROUNDS * len(_PLANS))
        grid = _measured(plan, watch)
        grids[kind] = _least(grids[kind], grid) if kind in grids else grid
    runtime = FORMATS[format].runtime
    host = f"{platform.machine()} {_processor()}"
    return CostTable(format, f"{runtime} {version(runtime)}", host, layer_ns, grids)


def _least(one: Grid, other: Grid) -> Grid:
    """Return the lower rates of two grids with the same axes, point by point."""
    planes = []
    for one_plane, other_plane in zip(one.ns_per_mac, other.ns_per_mac, strict=True):
        rows = zip(one_plane, other_plane, strict=True)
        planes.append(tuple(tuple(map(_lower, *pair)) for pair in rows))
    return replace(one, ns_per_mac=tuple(planes))


def _lower(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else min(one, other)


def _measured(plan: _Plan, watch: Stopwatch) -> Grid:
    planes = []
    for inputs in plan.inputs:
        rows = [tuple(_row(plan, inputs, outputs, watch)) for outputs in plan.outputs]
        planes.append(tuple(rows))
    positions = tuple(side * side for side in plan.sides)
    return Grid(plan.inputs, plan.outputs, positions, tuple(planes))


def _row(plan: _Plan, inputs: int, outputs: int, watch: Stopwatch) -> Iterator[float | None]:
    """Yield the rates of one layer by size, None where it is large.

    The smallest size is always measured.
    """
    layer = plan.layer(inputs, outputs)
    for side in plan.sides:
        # the positions of a linear layer are its batch
        size, batch = ((side, side), 1) if layer.kernel else ((), side * side)
        macs = layer.macs(size, batch)
        if side != plan.sides[0] and _is_large(layer, size, batch):
            yield None
        else:
            # the clock may show no time at all, but rates are positive
            yield max(watch(layer, size, batch), 1.0) / macs


def _is_large(layer: Convolution, size: tuple[int, ...], batch: int) -> bool:
    activations = batch * prod(size) * (layer.in_channels + layer.out_channels)
    numbers = activations + prod(layer.weight_shape)
    return layer.macs(size, batch) > _MOST_MACS or numbers > _MOST_NUMBERS


def _processor() -> str:
    """Return the processor's name from Linux."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a line, not a file
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown"

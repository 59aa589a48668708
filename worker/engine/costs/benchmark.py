"""The benchmark behind a cost table: one layer of each shape on the grids, run alone on one thread of the runtime."""

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
"""In a layer's inputs, outputs and weights together: more would be measured no better, and longer."""
_ROUNDS = 2
"""A host that is busy for some seconds spoils one round; of both the least is kept."""
_SIDES = (1, 2, 4, 7, 14, 28, 56, 112, 224)


@dataclass(frozen=True)
class _Plan:
    """What a grid measures: its axes, and the layer at each of its points."""

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
    sizes = (2, 4, 8, 16, 32, 64)
    return _Plan(
        sizes, sizes, _SIDES[3:], lambda c, n: _layer((size, size), c, n, max(2, 64 // max(c, n)))
    )


def _depthwise(high: int, wide: int) -> _Plan:
    return _Plan(
        (4, 8, 32, 128, 512), (1, 2, 4, 8), _SIDES[1:], lambda c, m: _layer((high, wide), 1, m, c)
    )


_PLANS = {
    **{
        f"{high}x{wide}": _dense(high, wide)
        for high, wide in ((1, 1), (3, 3), (1, 3), (3, 1), (5, 5), (7, 7))
    },
    **{f"ragged {size}x{size}": _ragged(size) for size in (1, 3)},
    **{f"grouped {size}x{size}": _grouped(size) for size in (1, 3)},
    **{
        f"depthwise {high}x{wide}": _depthwise(high, wide)
        for high, wide in ((1, 1), (3, 3), (1, 3), (3, 1))
    },
    "linear": _Plan(
        (16, 64, 256, 1024, 4096),
        (4, 16, 64, 256, 1024, 4096),
        (1, 2, 4, 8, 16),
        lambda c, n: _layer((), c, n),
    ),
}


def stopwatch(format: Format) -> tuple[Stopwatch, float]:  # noqa: A002 - the product's word
    """Return what times layers on a format's runtime, and the nanoseconds that any layer costs beside that."""
    return adapter_of(format).stopwatch()


def measure(format: Format, within: Callable[[int, int], None]) -> CostTable:  # noqa: A002 - the product's word
    """Measure a table of this host; `within` is told how many of how many grids are done."""
    watch, layer_ns = stopwatch(format)
    grids: dict[str, Grid] = {}
    for done, (kind, plan) in enumerate(_ROUNDS * [*_PLANS.items()]):
        within(done, _ROUNDS * len(_PLANS))
        measured = _measured(plan, watch)
        grids[kind] = _least(grids[kind], measured) if kind in grids else measured
    package = FORMATS[format].runtime
    runtime = f"{package} {version(package)}"
    return CostTable(format, runtime, f"{platform.machine()} {_processor()}", layer_ns, grids)


def _least(one: Grid, other: Grid) -> Grid:
    """Return what was less, point by point."""
    rates = tuple(
        tuple(
            tuple(None if a is None or b is None else min(a, b) for a, b in zip(*rows, strict=True))
            for rows in zip(*planes, strict=True)
        )
        for planes in zip(one.ns_per_mac, other.ns_per_mac, strict=True)
    )
    return replace(one, ns_per_mac=rates)


def _measured(plan: _Plan, watch: Stopwatch) -> Grid:
    rates = tuple(tuple(tuple(_row(plan, c, n, watch)) for n in plan.outputs) for c in plan.inputs)
    return Grid(plan.inputs, plan.outputs, tuple(side * side for side in plan.sides), rates)


def _row(plan: _Plan, inputs: int, outputs: int, watch: Stopwatch) -> Iterator[float | None]:
    """Yield the rates of one layer by size, None where it is large; the smallest is always measured."""
    layer = plan.layer(inputs, outputs)
    for side in plan.sides:
        size, batch = ((side, side), 1) if layer.kernel else ((), side * side)
        numbers = batch * prod(size) * (layer.in_channels + layer.out_channels) + prod(
            layer.weight_shape
        )
        macs = layer.macs(size, batch)
        large = macs > _MOST_MACS or numbers > _MOST_NUMBERS
        yield (
            None if large and side != plan.sides[0] else max(watch(layer, size, batch), 1.0) / macs
        )


def _processor() -> str:
    """Return the processor's name as Linux gives it."""
    with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a line, not a file
        return next(
            (line.partition(":")[2].strip() for line in file if line.startswith("model name")),
            "unknown",
        )

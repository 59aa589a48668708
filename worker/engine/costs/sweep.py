"""The sweep over plans: every planned layer is timed in several rounds, and the least counts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from worker.engine.costs.grid import Grid
from worker.engine.costs.kinds import positions
from worker.engine.costs.plans import Plan
from worker.engine.numerics.convolution import Convolution

Watch = Callable[[Convolution, tuple[int, ...], int], float]
"""Nanoseconds of one call of a layer, given its input's spatial size and batch."""

ROUNDS = 2
"""A host that is busy for some seconds spoils one round: the faster one of both counts."""
_MOST_MACS = 250_000_000
_MOST_NUMBERS = 8_000_000
"""In a layer's inputs, outputs and weights together: larger layers take longer, to no gain."""
_DIGITS = 4
"""Of a rate: stopwatches are no more precise."""


@dataclass(frozen=True)
class Measurement:
    """A kind of layer, its plan, and the watch that times its layers."""

    kind: str
    plan: Plan
    watch: Watch


def sweep(
    measurements: Sequence[Measurement],
    within: Callable[[int, int], None],
    rounds: int = ROUNDS,
) -> dict[str, Grid]:
    """Time the layers of all plans.

    Args:
        measurements: the kinds to measure.
        within: receives the number of grids that are done, and the number of all.
        rounds: the number of times that each is measured.

    Returns:
        a grid for each kind.
    """
    grids: dict[str, Grid] = {}
    for done, each in enumerate(rounds * list(measurements)):
        within(done, rounds * len(measurements))
        grid = _timed(each.plan, each.watch)
        earlier = grids.get(each.kind, grid)
        grids[each.kind] = least(earlier, grid)
    return grids


def least(one: Grid, other: Grid) -> Grid:
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


def _timed(plan: Plan, watch: Watch) -> Grid:
    """Time the layer at each point of a plan."""
    planes = []
    for inputs in plan.inputs:
        plane = []
        for outputs in plan.outputs:
            row = _row(plan, inputs, outputs, watch)
            plane.append(tuple(row))
        planes.append(tuple(plane))
    layer = plan.layer(plan.inputs[0], plan.outputs[0])
    counts = tuple(positions(layer, *plan.size(side)) for side in plan.sides)
    return Grid(plan.inputs, plan.outputs, counts, tuple(planes))


def _row(plan: Plan, inputs: int, outputs: int, watch: Watch) -> Iterator[float | None]:
    """Yield the rates of one layer by size, None where it is large.

    The smallest size is always measured.
    """
    layer = plan.layer(inputs, outputs)
    smallest = plan.sides[0]
    for side in plan.sides:
        size, batch = plan.size(side)
        if side != smallest and _is_large(layer, size, batch):
            yield None
            continue
        nanoseconds = watch(layer, size, batch)
        # the clock may show no time at all, but rates are positive
        rate = max(nanoseconds, 1.0) / layer.macs(size, batch)
        yield float(f"{rate:.{_DIGITS}g}")


def _is_large(layer: Convolution, size: tuple[int, ...], batch: int) -> bool:
    """Whether a layer takes too long, or too much memory, to be measured."""
    if layer.macs(size, batch) > _MOST_MACS:
        return True
    activations = batch * prod(size) * layer.in_channels
    activations += batch * prod(layer.output_size(size)) * layer.out_channels
    weights = prod(layer.weight_shape)
    return activations + weights > _MOST_NUMBERS

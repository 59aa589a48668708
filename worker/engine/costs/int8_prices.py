"""Prices of layers in int8: whole blocks of outputs, and conversions where float layers are near.

The cost table has the time of the conversions as a grid of its own: nanoseconds for each number
that is turned into int8 and back once.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from worker.engine.costs.kinds import (
    CONVERSION,
    CONVERTED_CHANNELS,
    INT8_BLOCK,
    is_blocked_in_int8,
)
from worker.engine.costs.table import CostTable
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution


def in_blocks(convolution: Convolution) -> Convolution:
    """Return a layer with its outputs in whole blocks, as the runtime computes them."""
    if not is_blocked_in_int8(convolution):
        return convolution
    outputs, *others = convolution.weight_shape
    blocks = -(-outputs // INT8_BLOCK)
    return replace(convolution, weight_shape=(blocks * INT8_BLOCK, *others))


def conversion_nanoseconds(site: Site, table: CostTable) -> int:
    """Return the time of the conversions around a site whose neighbours are of the other precision.

    Its inputs are turned, and its outputs, over all calls. Without a grid they take no time.
    """
    grid = table.grids.get(CONVERSION)
    if grid is None or site.convolution is None:
        return 0
    total = 0.0
    for call in site.calls:
        # half of a turn there and back at either end
        numbers = _numbers(site.convolution, call.input_size, call.batch) / 2
        rate = grid.rate(
            CONVERTED_CHANNELS, 1, max(1, round(numbers / CONVERTED_CHANNELS))
        )
        total += call.times * rate * numbers
    return round(total)


def _numbers(convolution: Convolution, input_size: Sequence[int], batch: int) -> int:
    """Return the numbers of a layer's inputs and outputs together."""
    inputs = convolution.in_channels * prod(input_size)
    outputs = convolution.out_channels * prod(convolution.output_size(input_size))
    return batch * (inputs + outputs)

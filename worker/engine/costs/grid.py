"""The grid of a kind of layer: nanoseconds per multiply-accumulate by its sizes, interpolated."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import log2

VERSION = 1
"""The version of the files of tables."""

Rates = tuple[tuple[tuple[float | None, ...], ...], ...]
"""Nanoseconds per multiply-accumulate by input channels, output channels and output positions."""


@dataclass(frozen=True)
class Grid:
    """Measured rates of one kind of layer; each axis ascends.

    Attributes:
        inputs: input channels of one group; all channels of depthwise layers.
        outputs: output channels of one group; those of one input of depthwise layers.
        positions: output positions, over the whole batch.
        ns_per_mac: nanoseconds per multiply-accumulate at each point. None stands for a point that
            was not measured: the rate of the next fewer positions applies.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    positions: tuple[int, ...]
    ns_per_mac: Rates

    def rate(self, inputs: int, outputs: int, positions: int) -> float:
        """Return the nanoseconds per MAC: logarithms are linear between those of the grid's sizes.

        So a layer whose time does not depend on a size has it between two sizes as well. Beyond an
        end of an axis, the rate is that of the end.

        >>> grid = Grid((1, 4), (1,), (1,), (((16.0,),), ((4.0,),)))
        >>> grid.rate(1, 1, 1), grid.rate(2, 1, 1), grid.rate(100, 1, 1)
        (16.0, 8.0, 4.0)
        """
        corners = product(
            _between(self.inputs, inputs),
            _between(self.outputs, outputs),
            _between(self.positions, positions),
        )
        rate = 1.0
        for (a, a_share), (b, b_share), (c, c_share) in corners:
            share = a_share * b_share * c_share
            if share:
                rate *= self._at(a, b, c) ** share
        return rate

    def _at(self, inputs: int, outputs: int, positions: int) -> float:
        """Return the rate at a point of the grid, or that of the next fewer positions."""
        row = self.ns_per_mac[inputs][outputs]
        rate = row[positions]
        # the smallest size is always measured, so that the search ends
        while rate is None:
            positions -= 1
            rate = row[positions]
        return rate


def _between(axis: Sequence[int], size: int) -> tuple[tuple[int, float], ...]:
    """Return the (index, share) of the points around a size; beyond an end, of that end."""
    at = bisect_right(axis, size)
    if at == 0:
        return ((0, 1.0),)
    if at == len(axis):
        return ((at - 1, 1.0),)
    lower = log2(axis[at - 1])
    upper = log2(axis[at])
    share = (log2(size) - lower) / (upper - lower)
    return ((at - 1, 1.0 - share), (at, share))

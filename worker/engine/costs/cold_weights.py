"""Cold weights: what a byte of a layer's weights takes longer in a network than alone.

The grids of a table have the times of layers alone, whose weights stay in the caches from one run
to the next. In a network all other layers run in between and displace them. A long chain of layers
with weights of their own reads these from memory, and a short one does not.
"""

from collections.abc import Callable
from math import prod

from worker.engine.numerics.convolution import Convolution

ChainStopwatch = Callable[[Convolution, tuple[int, ...], int], float]
"""Nanoseconds of one layer in a chain, given its input's spatial size and the number of layers."""

BYTES_OF_WEIGHT = 4
SHORT, LONG = 2, 64
"""The layers of both chains: 2 and 64 megabytes of weights, as the processor has caches for."""
_CHANNELS = 512
LAYER = Convolution((_CHANNELS, _CHANNELS, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
SIZE = (4, 4)
"""The layer is one as most weights of classifiers are in: many channels, and few positions."""


def nanoseconds_per_byte(stopwatch: ChainStopwatch) -> float:
    """Measure what a byte of weights takes longer from memory; 0 where it takes nothing.

    It takes half a second, and some hundred megabytes.
    """
    cold, warm = (stopwatch(LAYER, SIZE, number) for number in (LONG, SHORT))
    layer_bytes = BYTES_OF_WEIGHT * prod(LAYER.weight_shape)
    return max(0.0, cold - warm) / layer_bytes

"""The output channels that a runtime computes together, found by the times of two layers."""

from worker.engine.costs.kinds import BLOCK
from worker.engine.costs.sweep import Watch
from worker.engine.numerics.convolution import Convolution

_INPUTS = 256
_SIDE = 56
_FEWER, _MORE = 3 * BLOCK, 4 * BLOCK
"""Three and four blocks of 8 channels: both are two blocks of 16."""
_SHARE = 0.9
"""Of the longer time, above which both layers take as long."""
_ROUNDS = 5


def block_of(watch: Watch) -> int:
    """Return 16 where 24 output channels take as long as 32, and else 8."""
    fewer, more = (min(_timed(watch, outputs)) for outputs in (_FEWER, _MORE))
    return 2 * BLOCK if fewer > _SHARE * more else BLOCK


def _timed(watch: Watch, outputs: int) -> list[float]:
    ones, none = (1, 1), ((0, 0), (0, 0))
    layer = Convolution((outputs, _INPUTS, 1, 1), ones, none, ones)
    return [watch(layer, (_SIDE, _SIDE), 1) for _ in range(_ROUNDS)]

"""Timing single layers on torch, in inference mode on one thread."""

import time

import torch
from torch import Tensor

from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.patches import convolve

_RUNS, _FEWEST_RUNS = 8, 3
_ENOUGH_NS = 5_000_000
_LEAST_NS = 300_000
"""What is timed together at least: calls of microseconds one by one would time the clock."""
_MOST_CALLS = 50


@torch.inference_mode()
def nanoseconds(convolution: Convolution, input_size: tuple[int, ...], batch: int) -> float:
    """Return what one call of a layer takes, the least of several; what torch does around it is in that."""
    torch.set_num_threads(1)
    x = torch.full((batch, convolution.in_channels, *input_size), 0.5)
    weight = torch.full(convolution.weight_shape, 0.01)
    first = _timed(convolution, x, weight, 1)
    calls = max(1, min(_MOST_CALLS, round(_LEAST_NS / first)))
    taken: list[float] = []
    while len(taken) < _FEWEST_RUNS or (len(taken) < _RUNS and calls * sum(taken) < _ENOUGH_NS):
        taken.append(_timed(convolution, x, weight, calls))
    return min(taken)


def _timed(convolution: Convolution, x: Tensor, weight: Tensor, calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        convolve(convolution, x, weight, None)
    return (time.perf_counter_ns() - start) / calls

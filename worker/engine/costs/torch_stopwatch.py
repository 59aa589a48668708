"""Timing single layers on torch, in inference mode on one thread."""

import time

import torch
from torch import Tensor

from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.patches import convolve

_RUNS = 8
_FEWEST_RUNS = 3
_ENOUGH_NS = 5_000_000
_LEAST_NS = 300_000
"""The least time of calls that are timed together: single ones of microseconds time the clock."""
_MOST_CALLS = 50


@torch.inference_mode()
def nanoseconds(
    convolution: Convolution, input_size: tuple[int, ...], batch: int
) -> float:
    """Return the time of one call of a layer with torch's overhead: the least of several."""
    torch.set_num_threads(1)
    shape = (batch, convolution.in_channels, *input_size)
    x = torch.full(shape, 0.5)
    weight = torch.full(convolution.weight_shape, 0.01)
    first = _timed(convolution, x, weight, 1)
    calls = round(_LEAST_NS / first)
    calls = max(1, min(_MOST_CALLS, calls))
    times: list[float] = []
    while not _is_enough(times, calls):
        times.append(_timed(convolution, x, weight, calls))
    return min(times)


def _is_enough(times: list[float], calls: int) -> bool:
    """Whether a layer was timed often enough, or for long enough."""
    runs = len(times)
    if runs < _FEWEST_RUNS:
        return False
    return runs >= _RUNS or calls * sum(times) >= _ENOUGH_NS


def _timed(convolution: Convolution, x: Tensor, weight: Tensor, calls: int) -> float:
    """Return the mean time of some calls, one right after another."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        convolve(convolution, x, weight, None)
    spent = time.perf_counter_ns() - start
    return spent / calls

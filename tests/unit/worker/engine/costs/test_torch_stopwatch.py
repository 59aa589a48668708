"""Layers are timed in torch, those of microseconds several at once."""

import pytest

from worker.engine.costs import torch_stopwatch
from worker.engine.costs.torch_stopwatch import nanoseconds
from worker.engine.numerics.convolution import Convolution

SMALL = Convolution((8, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
LARGE = Convolution((128, 32, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))


def test_sixteen_times_the_arithmetic_takes_longer():
    assert nanoseconds(LARGE, (28, 28), 1) > nanoseconds(SMALL, (28, 28), 1)


@pytest.mark.parametrize(
    ("duration", "calls", "rounds"),
    # in nanoseconds: many calls of short ones, at most 50; long ones until enough time has passed
    [(10_000, 30, 8), (1_000, 50, 8), (600_000, 1, 8), (4_000_000, 1, 3)],
)
def test_short_layers_are_called_more_often(monkeypatch, duration, calls, rounds):
    numbers = []

    def timed(layer, x, weight, number):
        numbers.append(number)
        return duration + len(numbers)

    monkeypatch.setattr(torch_stopwatch, "_timed", timed)
    # the first call is a trial, and the least of the others counts
    assert nanoseconds(SMALL, (4, 4), 1) == duration + 2
    assert numbers == [1, *[calls] * rounds]

"""Reasons that several forms share."""

import pytest

from worker.engine.decompose.applicability import (
    depthwise,
    no_spatial_extent,
    transposed,
)
from worker.engine.numerics.convolution import Convolution


def layer(shape, groups=1, **members):
    axes = len(shape) - 2
    ones = (1,) * axes
    return Convolution(shape, ones, ((0, 0),) * axes, ones, groups, **members)


PLAIN = layer((8, 4, 3, 3))
POINTWISE = layer((8, 4, 1, 1))
DEPTHWISE = layer((8, 1, 3, 3), 8)
TRANSPOSED = layer((8, 4, 3, 3), transposed=True)


@pytest.mark.parametrize(
    ("check", "convolution", "applies"),
    [
        (transposed, PLAIN, True),
        (transposed, TRANSPOSED, False),
        (depthwise, PLAIN, True),
        (depthwise, DEPTHWISE, False),
        (depthwise, layer((8, 2, 3, 3), 4), True),
        # one channel alone is no group of several
        (depthwise, layer((8, 1, 3, 3)), True),
        (no_spatial_extent, PLAIN, True),
        (no_spatial_extent, POINTWISE, False),
        (no_spatial_extent, DEPTHWISE, False),
        (no_spatial_extent, layer((8, 4)), False),
    ],
)
def test_a_form_applies_or_has_a_reason(check, convolution, applies):
    assert (check(convolution) is None) == applies


def test_the_reason_of_a_transposed_layer_comes_first():
    pointwise = layer((8, 4, 1, 1), transposed=True)
    assert no_spatial_extent(pointwise) == transposed(pointwise)

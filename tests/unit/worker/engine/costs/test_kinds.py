"""The kinds of layers, and their sizes as grids count them."""

from dataclasses import replace

import pytest

from worker.engine.costs.kinds import (
    as_computed,
    channels,
    earlier_kind,
    kind_of,
    positions,
)
from worker.engine.costs.plans import PLANS
from worker.engine.numerics.convolution import Convolution


def layer(inputs, outputs, kernel=(3, 3), groups=1, **changes):
    ones = (1,) * len(kernel)
    padding = tuple((size // 2, size // 2) for size in kernel)
    convolution = Convolution(
        (outputs, inputs // groups, *kernel), ones, padding, ones, groups
    )
    return replace(convolution, **changes)


def transposed(kernel, groups=1):
    zeros = (0,) * len(kernel)
    return layer(8, 8, kernel, groups, transposed=True, output_padding=zeros)


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        (layer(8, 8), "3x3"),
        (layer(8, 8, (1, 1)), "1x1"),
        (layer(8, 8, (1, 7)), "1x3"),
        (layer(8, 8, (5, 4)), "5x5"),
        (layer(8, 8, (11, 11)), "7x7"),
        (layer(6, 8), "ragged 3x3"),
        (layer(5, 8, (1, 1)), "ragged 1x1"),
        (layer(3, 8, (1, 1)), "few 1x1"),
        (layer(3, 64, (7, 7)), "few 7x7"),
        (layer(1, 8, (1, 3)), "few 1x3"),
        (layer(1, 8, (5, 1)), "few 7x1"),
        (layer(8, 8, groups=8, stride=(2, 1)), "depthwise 3x3"),
        (layer(8, 16, groups=8, stride=(2, 1)), "strided depthwise 3x3"),
        (layer(3, 3, (7, 7), groups=3, stride=(2, 2)), "strided depthwise 7x7"),
        (layer(8, 8, groups=2), "grouped 3x3"),
        (layer(8, 16, groups=8), "depthwise 3x3"),
        (layer(8, 8, ()), "linear"),
        (layer(12, 12, groups=12), "ragged depthwise 3x3"),
        (layer(12, 12, (1, 7), groups=12), "ragged depthwise 3x3"),
        (layer(8, 8, (9, 9), groups=8), "depthwise 7x7"),
        (layer(8, 8, (3,)), "1d 3"),
        (layer(8, 8, (9,)), "1d 7"),
        (layer(8, 8, (3,), groups=8), "1d depthwise"),
        (layer(8, 8, (3, 3, 3)), "3d 3"),
        (layer(8, 8, (1, 1, 1)), "3d 1"),
        (layer(8, 8, (3, 1, 1), groups=2), "3d grouped"),
        (transposed((2, 2)), "transposed 2x2"),
        (transposed((5, 5)), "transposed 4x4"),
        (transposed((4, 4), groups=4), "transposed grouped"),
        (transposed((4,)), "1d transposed"),
    ],
)
def test_kinds(convolution, kind):
    assert kind_of(convolution) == kind


def test_blocks_of_another_size_make_other_layers_ragged():
    assert kind_of(layer(24, 24, groups=24), 8) == "depthwise 3x3"
    assert kind_of(layer(24, 24, groups=24), 16) == "ragged depthwise 3x3"
    assert as_computed(layer(8, 24), 8).out_channels == 24
    assert as_computed(layer(8, 24), 16).out_channels == 32
    whole = (
        layer(8, 24, ()),
        layer(8, 24, (3,)),
        transposed((2, 2)),
        layer(24, 24, groups=2),
    )
    for each in whole:
        assert as_computed(each, 16) == each


def test_a_transposed_layer_is_counted_by_its_input():
    assert positions(transposed((2, 2)), (5, 6), 2) == 60
    assert positions(layer(8, 8, stride=(2, 2)), (6, 6), 2) == 18


def test_depthwise_layers_are_counted_by_all_their_channels():
    assert channels(layer(8, 32, groups=8)) == (8, 4)
    assert channels(layer(8, 32, groups=2)) == (4, 16)


def test_kinds_of_earlier_tables_are_kinds_still():
    earlier = {kind: earlier_kind(kind) for kind in PLANS}
    assert earlier["few 7x7"] == "ragged 3x3"
    assert {kind for kind in earlier.values() if kind} < PLANS.keys()

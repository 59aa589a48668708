"""Prices in int8: whole blocks of outputs, and the conversions around a site."""

from dataclasses import replace

import pytest
from support.engine.costs import cost_table

from worker.engine.costs.grid import Grid
from worker.engine.costs.int8_prices import conversion_nanoseconds, in_blocks
from worker.engine.costs.kinds import CONVERSION, INT8_BLOCK
from worker.engine.model import Call, Site
from worker.engine.numerics.convolution import Convolution


def layer(outputs, inputs=16, groups=1):
    shape = (outputs, inputs // groups, 3, 3)
    return Convolution(shape, (2, 2), ((1, 1), (1, 1)), (1, 1), groups)


@pytest.mark.parametrize(
    ("outputs", "blocks"), [(1, 1), (INT8_BLOCK, 1), (INT8_BLOCK + 1, 2)]
)
def test_outputs_are_whole_blocks(outputs, blocks):
    assert in_blocks(layer(outputs)) == layer(blocks * INT8_BLOCK)


def test_depthwise_layers_are_not_in_blocks():
    depthwise = layer(24, 24, groups=24)
    assert in_blocks(depthwise) == depthwise


def site(*calls, convolution=None):
    convolution = layer(8, 4) if convolution is None else convolution
    return Site("s", "Conv", convolution.weight_shape, 1, convolution, calls)


def test_inputs_and_outputs_are_turned_at_every_call():
    table = cost_table()
    grid = Grid((1,), (1,), (1,), (((0.5,),),))
    table = replace(table, grids={**table.grids, CONVERSION: grid})
    # half of a turn at either end: 4 channels of 8 x 8 in, 8 of 4 x 4 out
    numbers = (4 * 64 + 8 * 16) / 2
    assert conversion_nanoseconds(site(Call(1, (8, 8))), table) == 0.5 * numbers
    calls = Call(2, (8, 8), 3), Call(1, (8, 8))
    assert conversion_nanoseconds(site(*calls), table) == 7 * 0.5 * numbers


def test_without_a_grid_or_a_geometry_conversions_take_no_time():
    table = cost_table()
    grids = {kind: grid for kind, grid in table.grids.items() if kind != CONVERSION}
    bare = replace(table, grids=grids)
    assert conversion_nanoseconds(site(Call(1, (8, 8))), bare) == 0
    other = replace(site(Call(1, (8, 8))), convolution=None)
    assert conversion_nanoseconds(other, table) == 0

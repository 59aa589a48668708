"""What a cost table says of layers, of chains of layers, and of sums."""

from dataclasses import replace

from support.engine.costs import cost_table

from worker.engine.costs.grid import Grid
from worker.engine.numerics.convolution import Convolution


def layer(inputs, outputs, kernel=(3, 3), groups=1, **changes):
    ones = (1,) * len(kernel)
    padding = tuple((size // 2, size // 2) for size in kernel)
    convolution = Convolution(
        (outputs, inputs // groups, *kernel), ones, padding, ones, groups
    )
    return replace(convolution, **changes)


def test_a_layer_takes_what_its_arithmetic_takes_in_whole_blocks_and_its_own_share():
    table = cost_table(layer_ns=50.0)
    assert table.nanoseconds(layer(8, 8), (10, 10)) == 8 * 8 * 9 * 100 + 50
    assert table.nanoseconds(layer(8, 5), (10, 10), batch=2) == 2 * 8 * 8 * 9 * 100 + 50
    assert (
        table.nanoseconds(layer(8, 8, stride=(2, 2)), (10, 10)) == 8 * 8 * 9 * 25 + 50
    )
    assert table.nanoseconds(layer(8, 8, (3,)), (10,)) == 8 * 8 * 3 * 10 + 50
    assert table.nanoseconds(layer(8, 8, (3,) * 4), (4,) * 4) is None


def test_weights_from_memory_take_longer_by_the_byte():
    table = replace(cost_table(layer_ns=50.0), cold_ns_per_byte=0.5)
    weights = 5 * 8 * 9
    warm = cost_table(layer_ns=50.0)
    small = layer(8, 5)
    assert table.nanoseconds(small, (10, 10)) == 8 * 8 * 9 * 100 + 50 + 2 * weights
    assert warm.nanoseconds(small, (10, 10)) == 8 * 8 * 9 * 100 + 50
    # what an addition takes more does not depend on the weights
    chain = [layer(8, 16, (1, 1))]
    more = table.summed(chain, 3, (10, 10)) - warm.summed(chain, 3, (10, 10))
    assert more == 3 * 8 * 16 * 2


def test_a_table_names_the_channels_that_are_computed_together():
    table = replace(cost_table(layer_ns=0.0), block=16)
    assert table.nanoseconds(layer(8, 17), (10, 10)) == 8 * 32 * 9 * 100


def test_a_chain_costs_what_its_layers_do_at_the_sizes_that_they_see():
    table = cost_table()
    first = layer(8, 8, stride=(2, 2))
    second = layer(8, 16)
    apart = table.nanoseconds(first, (10, 10)) + table.nanoseconds(second, (5, 5))
    assert table.summed([first, second], 1, (10, 10)) == apart
    assert table.summed([first, layer(8, 8, (3,) * 4)], 1, (10, 10)) is None


def without(table, *kinds):
    return replace(
        table, grids={k: grid for k, grid in table.grids.items() if k not in kinds}
    )


def test_a_table_of_an_earlier_version_has_another_grid_for_the_kinds_that_it_lacks():
    stem = layer(3, 8, (7, 7))
    table = cost_table(few_7x7=5.0, ragged_3x3=2.0)
    macs = 8 * 3 * 49 * 100
    assert table.nanoseconds(stem, (10, 10)) == 5 * macs + 100
    assert without(table, "few 7x7").nanoseconds(stem, (10, 10)) == 2 * macs + 100
    assert without(table, "few 7x7", "ragged 3x3").nanoseconds(stem, (10, 10)) is None
    assert table.nanoseconds(stem, (10, 10), int8=True) is None


def test_what_a_sum_takes_within_a_layer_is_the_difference_to_the_layer_alone():
    table = cost_table()
    chain = [layer(8, 8, groups=8), layer(8, 16, (1, 1))]
    alone = table.summed(chain, 1, (10, 10))
    assert (
        table.summed(chain, 3, (10, 10)) == 3 * alone
    )  # an earlier table has none of it
    grids = {**table.grids, "added 1x1": Grid((1,), (1,), (1,), (((1.5,),),))}
    slower = (
        0.5 * 16 * 16 * 100
    )  # of a layer with sixteen inputs, whatever the last one has
    assert (
        replace(table, grids=grids).summed(chain, 3, (10, 10)) == 3 * alone + 2 * slower
    )


def test_a_runtime_that_does_not_add_within_a_layer_has_a_layer_for_it():
    table = cost_table("torchscript", layer_ns=0.0, depthwise_1x1=3.0)
    chain = [layer(8, 8, groups=8), layer(8, 16, (1, 1))]
    alone = table.summed(chain, 1, (10, 10))
    assert table.summed(chain, 3, (10, 10)) == 3 * alone + 2 * 3 * 16 * 100

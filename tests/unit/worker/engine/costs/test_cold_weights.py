"""What weights take from memory: the difference of a long chain and a short one."""

import pytest

from worker.engine.costs.cold_weights import (
    LAYER,
    LONG,
    SHORT,
    SIZE,
    nanoseconds_per_byte,
)


@pytest.mark.parametrize(
    ("longer", "per_byte"),
    # a layer of the chains has a mebibyte of weights
    [(2.0**18, 0.25), (0.0, 0.0), (-5.0, 0.0)],
)
def test_a_layer_of_a_long_chain_reads_its_weights_from_memory(longer, per_byte):
    calls = []

    def watch(layer, size, number):
        calls.append((layer, size, number))
        return 1000.0 + (longer if number == LONG else 0.0)

    assert nanoseconds_per_byte(watch) == per_byte
    assert sorted(number for _, _, number in calls) == [SHORT, LONG]
    assert {(layer, size) for layer, size, _ in calls} == {(LAYER, SIZE)}

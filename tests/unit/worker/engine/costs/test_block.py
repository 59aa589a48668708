"""The block of a runtime, found by the times of two layers."""

import itertools

from worker.engine.costs.block import block_of


def in_blocks(block):
    """A runtime that computes whole blocks of channels."""
    return lambda layer, size, batch: float(-(-layer.out_channels // block))


def test_the_block_of_a_runtime_is_found_by_the_times_of_layers():
    assert block_of(in_blocks(8)) == 8
    assert block_of(in_blocks(16)) == 16


def test_a_disturbed_time_decides_nothing():
    """The least of five counts, and noise makes a layer slower alone."""
    noise = itertools.cycle([9.0, 3.0, 0.0, 5.0, 1.0])
    watch = in_blocks(16)
    assert block_of(lambda *layer: watch(*layer) + next(noise)) == 16


def test_layers_that_differ_in_their_channels_alone_are_timed():
    layers = []
    block_of(lambda layer, size, batch: layers.append((layer, size, batch)) or 1.0)
    shapes = {layer.weight_shape for layer, _, _ in layers}
    assert shapes == {(24, 256, 1, 1), (32, 256, 1, 1)}
    assert {(size, batch) for _, size, batch in layers} == {((56, 56), 1)}

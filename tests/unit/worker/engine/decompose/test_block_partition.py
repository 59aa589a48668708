"""The covariances of blocks, whichever way a patch is divided."""

import numpy as np
import pytest

from worker.engine.decompose.block_partition import channel_blocks, offset_blocks
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_the_covariance_of_blocks_is_that_of_their_numbers(axes):
    geometry = Convolution((4, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), groups=2)
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 18, 40))
    moments = Moments.of(np.zeros((2, 18)), root @ root.swapaxes(1, 2))
    target = Target.of(
        Layer(geometry, rng.standard_normal((4, 3, 2, 3)), None), moments
    )
    partition = offset_blocks(target, axes)
    numbers = np.arange(18).reshape(3, 2, 3)
    order = np.moveaxis(numbers, [axis + 1 for axis in axes], range(len(axes))).reshape(
        partition.count, partition.size
    )
    for block in range(partition.count):
        for start in range(partition.count):
            expected = target.covariance[
                :, order[block][:, None], order[start:].reshape(-1)
            ]
            np.testing.assert_array_equal(
                partition.covariance(block, start, partition.count), expected
            )


def test_blocks_of_channels_lie_as_patches_do():
    geometry = Convolution((4, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1))
    root = np.random.default_rng(0).standard_normal((1, 18, 40))
    moments = Moments.of(np.zeros((1, 18)), root @ root.swapaxes(1, 2))
    target = Target.of(Layer(geometry, np.ones((4, 3, 2, 3)), None), moments)
    partition = channel_blocks(target, 3)
    np.testing.assert_array_equal(
        partition.covariance(1, 2, 3), target.covariance[:, 6:12, 12:]
    )

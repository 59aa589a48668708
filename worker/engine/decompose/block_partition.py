"""Partitions of a layer's patches into blocks of equal size.

The blocks of `dac` are the input channels, those of `spatial` the offsets along the second kernel's
axes; every form of two layers starts from a partition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Array

_ALL = slice(None)


@dataclass(frozen=True)
class BlockPartition:
    """A target whose patches are divided into `count` blocks of `size` numbers.

    `weight` and `product`, W C, are `(groups, n, count, size)`, `mean` is `(groups, count, size)`.
    `order` is the index in a patch of each number of the blocks, None where the blocks are runs of
    neighbours. `shared`: all blocks of a group have the same rows.
    """

    target: Target
    weight: Array
    product: Array
    mean: Array
    order: NDArray[np.intp] | None
    shared: bool

    @property
    def count(self) -> int:
        """The number of blocks in a group."""
        return int(self.weight.shape[2])

    @property
    def size(self) -> int:
        """The number of a patch's numbers in each block."""
        return int(self.weight.shape[3])

    @property
    def are_coupled(self) -> bool:
        """Whether a covariance couples the blocks; without one, each counts for itself."""
        return self.target.covariance is not None

    def covariance(
        self, block: int, start: int, end: int, groups: slice = _ALL
    ) -> Array:
        """Return the covariance of a block with the blocks from `start` to `end`.

        It is `(groups, size, (end - start) * size)`.
        """
        covariance = self.target.covariance
        assert covariance is not None  # `are_coupled`
        size = self.size
        own = slice(block * size, (block + 1) * size)
        others = slice(start * size, end * size)
        # blocks of neighbours are views; others have to be gathered
        if self.order is None:
            return covariance[groups, own, others]
        own_order = self.order[own, None]
        other_order = self.order[others]
        return covariance[groups, own_order, other_order]


def channel_blocks(target: Target, count: int) -> BlockPartition:
    """Divide the input channels of each group into `count` runs, each with its whole kernel.

    >>> from worker.engine.numerics.convolution import Convolution, Layer
    >>> from worker.engine.numerics.moments import unknown
    >>> geometry = Convolution((8, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    >>> target = Target.of(Layer(geometry, np.ones((8, 4, 3, 3)), None), unknown(geometry))
    >>> channel_blocks(target, 4).weight.shape
    (1, 8, 4, 9)
    """
    groups, n, _ = target.weight.shape
    return BlockPartition(
        target,
        weight=target.weight.reshape(groups, n, count, -1),
        product=target.product.reshape(groups, n, count, -1),
        mean=target.mean.reshape(groups, count, -1),
        order=None,
        shared=False,
    )


def offset_blocks(target: Target, axes: Sequence[int]) -> BlockPartition:
    """Make a block of each kernel offset along these spatial axes.

    The numbers of a block are those of all channels and of the other axes.

    >>> from worker.engine.numerics.convolution import Convolution, Layer
    >>> from worker.engine.numerics.moments import unknown
    >>> geometry = Convolution((8, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    >>> target = Target.of(Layer(geometry, np.ones((8, 4, 3, 3)), None), unknown(geometry))
    >>> offset_blocks(target, [1]).weight.shape
    (1, 8, 3, 12)
    """
    kernel = target.layer.convolution.kernel
    groups, n, patch = target.weight.shape
    numbers = np.arange(patch).reshape(-1, *kernel)
    # the offsets along the axes come first, and so become the index of the block
    axes_of_numbers = [axis + 1 for axis in axes]
    first_axes = range(len(axes))
    moved = np.moveaxis(numbers, axes_of_numbers, first_axes)
    order = moved.reshape(-1)
    sizes = [kernel[axis] for axis in axes]
    count = prod(sizes)
    weight = target.weight[:, :, order]
    product = target.product[:, :, order]
    mean = target.mean[:, order]
    return BlockPartition(
        target,
        weight=weight.reshape(groups, n, count, -1),
        product=product.reshape(groups, n, count, -1),
        mean=mean.reshape(groups, count, -1),
        order=order,
        shared=True,
    )

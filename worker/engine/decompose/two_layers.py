"""Forms of two layers whose first sees a patch in blocks."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from worker.engine.decompose import block_low_rank, randomized_range
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.block_partition import BlockPartition
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Array, Convolution, Layer

_STEP = 32
"""The distance of two ranks whose errors are estimated."""


class TwoLayers(Factorisation):
    """A factorisation into rows of blocks and a layer that combines them.

    The first layer's output channels are, for each group, its blocks and for each of these its
    rows; where the blocks share their rows, the rows once: the second layer's kernel then
    distinguishes the blocks.
    """

    @property
    @abstractmethod
    def sides(self) -> tuple[int, int]:
        """The sides of the matrix that is factored; the shorter one is the exact rank."""

    @abstractmethod
    def geometry(self, rank: int) -> tuple[Convolution, Convolution]:
        """Return the geometry of both layers."""

    @abstractmethod
    def partition(self, target: Target) -> BlockPartition:
        """Return the blocks of the first layer."""

    @cached_property
    def ranks(self) -> Sequence[int]:
        """The ranks, fewer beyond those whose errors a range finder finds where sides are long."""
        exact = min(self.sides)
        width = randomized_range.width(*self.sides)
        # beyond the range finder's width errors are estimates, for which a few ranks are enough
        if width == exact:
            return range(1, exact + 1)
        first_ranks = range(1, width + 1)
        later_ranks = range(width + 1, exact, _STEP)
        return (*first_ranks, *later_ranks, exact)

    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the geometry of both layers."""
        assert isinstance(rank, int)
        return self.geometry(rank)

    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors `(len(ranks),)`; 0 at the exact rank, where only rounding is left."""
        indices = np.array(ranks, dtype=np.intp)
        exact = min(self.sides)
        inexact = indices < exact
        errors = np.zeros(len(indices))
        if inexact.any():
            inexact_indices = indices[inexact]
            highest = int(inexact_indices.max())
            partition = self.partition(target)
            by_rank = block_low_rank.errors(partition, highest)
            errors[inexact] = by_rank[inexact_indices - 1]
        return errors

    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return both layers, the second with the bias."""
        assert isinstance(rank, int)
        partition = self.partition(target)
        rows, second = block_low_rank.factors(partition, rank)
        outputs = block_low_rank.outputs_at_mean(partition, rows, second)
        first_geometry, second_geometry = self.geometry(rank)
        # from (groups, n, rank, count) to the order of the second layer's weight
        if second_geometry.transposed:
            second = second.swapaxes(1, 2)
        elif not partition.shared:
            second = second.swapaxes(2, 3)
        weight = second.reshape(second_geometry.weight_shape)
        first_weight = rows.reshape(first_geometry.weight_shape)
        bias = target.bias(outputs)
        return (
            Layer(first_geometry, first_weight, None),
            Layer(second_geometry, weight, bias),
        )


def pointwise(inputs: int, outputs: int, axes: int, groups: int) -> Convolution:
    """Return the geometry of a convolution whose kernel is one offset.

    `inputs` and `outputs` are the channels of each group.
    """
    ones = (1,) * axes
    return Convolution(
        (groups * outputs, inputs, *ones), ones, ((0, 0),) * axes, ones, groups
    )

"""Pointwise first: a 1x1 convolution, then a depthwise k x k one of r inputs an output.

Source: Guo et al., "Network Decoupling: From Regular to Depthwise Separable Convolutions", BMVC
2018 (arXiv 1808.05517), in its order PW+DW.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from worker.engine.decompose import block_low_rank, least_squares
from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.block_partition import BlockPartition, offset_blocks
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import pointwise
from worker.engine.numerics.convolution import Array, Convolution, Layer

_ELEMENTS = 2**23
"""The numbers of normal equations that are in memory at once."""


def why_not_pointwise_first(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    reason = no_spatial_extent(convolution)
    if reason is not None:
        return reason
    n = convolution.group_outputs
    c = convolution.group_inputs
    k2 = convolution.k2
    # the costs of one rank at an output position
    own_cost = n * (c * prod(convolution.stride) + k2)
    cost_of_dac = c * (k2 + n)
    if own_cost >= cost_of_dac:
        return "dac costs no more at any rank"
    return None


def pointwise_first(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution filter by filter.

    For every output channel o, `W[o].reshape(c, k2)` is projected onto its r leading left singular
    vectors (under the moments: whitened by their mean over the offsets): the 1x1 filters that make
    the r inputs of the depthwise filter of o, which is fitted to them. At rank `min(c, k2)` it is
    exact.

    Cost per output position: `n r (c s^2 + k2)`, against `n c k2`. It is the mirror image of DAC,
    which has `c k2` in the place of `n k2`, and worth having where there are fewer outputs than
    inputs.

    >>> (form,) = pointwise_first(Convolution((4, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups) for made in form.convolutions(2)]
    [((8, 8, 1, 1), 1), ((4, 2, 3, 3), 4)]
    """
    return (PointwiseFirst(convolution, "pointwise-first", None),)


class PointwiseFirst(Factorisation):
    """Rows of every output, over blocks that are the kernel offsets."""

    @property
    def ranks(self) -> Sequence[int]:
        """The ranks 1 to `min(c, k2)`."""
        return range(1, self._exact + 1)

    @property
    def _exact(self) -> int:
        return min(self.convolution.group_inputs, self.convolution.k2)

    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the pointwise and the depthwise layer's geometry."""
        assert isinstance(rank, int)
        convolution = self.convolution
        groups = convolution.groups
        kernel = convolution.kernel
        n = convolution.group_outputs
        c = convolution.group_inputs
        depthwise_groups = groups * n
        weight_shape = (depthwise_groups, rank, *kernel)
        depthwise = replace(
            convolution, weight_shape=weight_shape, groups=depthwise_groups
        )
        first = pointwise(c, n * rank, len(kernel), groups)
        return first, depthwise

    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors `(len(ranks),)`; 0 at the exact rank, where only rounding is left."""
        indices = np.array(ranks, dtype=np.intp)
        if not indices.size:
            return np.zeros(0)
        partition = _partition(target)
        highest = int(indices.max())
        by_rank = _errors(partition, highest)
        is_exact = indices >= self._exact
        return np.where(is_exact, 0.0, by_rank[indices - 1])

    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return both layers, the second with the bias."""
        partition = _partition(target)
        assert isinstance(rank, int)
        rows, second = _factors(partition, rank)
        # one product after another: all at once would be a loop over five indices
        outputs = np.einsum(
            "gnrb,gnrs,gbs->gn", second, rows, partition.mean, optimize=True
        )
        first_geometry, last_geometry = self.convolutions(rank)
        weight = second.reshape(last_geometry.weight_shape)
        return (
            Layer(first_geometry, rows.reshape(first_geometry.weight_shape), None),
            Layer(last_geometry, weight, target.bias(outputs)),
        )


def _errors(partition: BlockPartition, rank: int) -> Array:
    """Return the errors of ranks 1 to `rank`, `(rank,)`."""
    if not partition.are_coupled:
        values = block_low_rank.spectrum(partition.weight, None, rank)
        by_rank = values.sum(axis=(0, 1))
        return partition.target.relative(by_rank.cumsum())
    # the outputs' equations are independent: the energies that they explain add up
    explained = np.zeros(rank)
    rows = _rows(partition, rank)
    for gram, cross in _normal_equations(partition, rows):
        white = least_squares.whitened(gram, cross) ** 2
        energies = white.reshape(-1, rank, partition.count)
        explained += energies.sum(axis=(0, 2))
    return partition.target.relative(explained.cumsum())


def _factors(partition: BlockPartition, rank: int) -> tuple[Array, Array]:
    """Return the filters of both layers.

    Returns:
        rows: the 1x1 filters, `(groups, n, rank, c)`, of norm 1.
        second: the depthwise filters, `(groups, n, rank, k2)`.
    """
    rows = _rows(partition, rank)
    second = _fit(partition, rows)
    lengths = block_low_rank.norms(rows)[..., None]
    return rows / lengths, second * lengths


def _fit(partition: BlockPartition, rows: Array) -> Array:
    """Return the best depthwise filters for these rows, `(groups, n, rank, k2)`."""
    if not partition.are_coupled:
        across = rows.mT
        gram, cross = rows @ across, partition.weight @ across
        return least_squares.solved(gram, cross).mT
    equations = _normal_equations(partition, rows)
    solutions = [least_squares.solved(gram, cross) for gram, cross in equations]
    joined = np.concatenate(solutions)
    return joined.reshape(*rows.shape[:3], partition.count)


def _rows(partition: BlockPartition, rank: int) -> Array:
    """Return the rows of every output, `(groups, n, rank, c)`."""
    _, covariance = block_low_rank.by_block(partition)
    return block_low_rank.leading_rows(partition.weight, covariance, rank)


def _normal_equations(
    partition: BlockPartition, rows: Array
) -> Iterator[tuple[Array, Array]]:
    """Yield the equations of several outputs at a time.

    Args:
        partition: the kernel offsets, with a covariance.
        rows: `(groups, n, rank, c)`.

    Yields:
        gram: `D C D^T`, `(some, R, R)` for the `R = rank * k2` rows of each output.
        cross: `W C D^T`, `(some, 1, R)`.
    """
    groups, n, rank, size = rows.shape
    count = partition.count
    # all outputs at once are quickest, but a wide layer's equations would take gigabytes
    columns = rank * count
    step = max(1, _ELEMENTS // columns**2)
    for group in range(groups):
        for start in range(0, n, step):
            stop = start + step
            own = rows[group, start:stop]
            across = own.mT
            product = partition.product[group, start:stop]
            cross = (product @ across).mT
            gram = np.empty((len(own), rank, count, rank, count))
            for block in range(count):
                covariance = partition.covariance(
                    block, 0, count, slice(group, group + 1)
                )[0]
                seen = own.reshape(-1, size) @ covariance
                others = seen.reshape(len(own), rank, count, size)
                by_other = others.swapaxes(1, 2)
                pairs = by_other @ across[:, None]
                gram[:, :, block] = pairs.transpose(0, 2, 3, 1)
            matrices = gram.reshape(len(own), columns, -1)
            sides = cross.reshape(len(own), 1, -1)
            yield (
                matrices,
                sides,
            )


def _partition(target: Target) -> BlockPartition:
    return offset_blocks(target, range(len(target.layer.convolution.kernel)))

"""Tucker-2: a 1x1 layer to fewer channels, a k x k one among these, a 1x1 one to all outputs.

Source: Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile
Applications", ICLR 2016 (arXiv 1511.06530).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from worker.engine.decompose import block_low_rank
from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.block_partition import BlockPartition, offset_blocks
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import pointwise
from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array, Convolution, Layer

_INPUT_STEPS = 12
_OUTPUT_STEPS = 24
"""The number of ranks of either side on offer."""
_LOPSIDED = 2
"""The largest ratio of the two sides' shares of their channels.

Other forms reduce one side alone for less.
"""


def why_not_tucker2(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    reason = no_spatial_extent(convolution)
    fewest = min(convolution.in_channels, convolution.out_channels)
    if reason is None and fewest == convolution.groups:
        return "it has only one input or output channel"
    return reason


def tucker2(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor the channels of both sides; a rank is `(r1, r2)`, of inputs and outputs.

    It is exact at `(c, n)`, or at `n k2` inputs and `c k2` outputs where there are more than these.

    The first layer takes the leading r1 directions of the input channels (under the moments:
    whitened by their mean over the offsets). The best k x k layer from these to all n outputs is a
    least-squares fit, and the best of its approximations through r2 channels is the projection onto
    the leading directions of its outputs: given the first layer, both others are optimal.

    Cost per output position: `c r1 s^2 + r1 r2 k2 + r2 n`, against `n c k2`.

    >>> (form,) = tucker2(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.stride) for made in form.convolutions((2, 5))]
    [((2, 4, 1, 1), (1, 1)), ((5, 2, 3, 3), (2, 2)), ((8, 5, 1, 1), (1, 1))]
    """
    return (Tucker2(convolution, "tucker2", None),)


class Tucker2(Factorisation):
    """Rows that all kernel offsets share, a core, and directions of the outputs."""

    @cached_property
    def ranks(self) -> Sequence[tuple[int, int]]:
        """The pairs of ranks whose shares of both sides are alike, and the exact pair."""
        return [*_inexact_ranks(*self._exact), self._exact]

    @property
    def _exact(self) -> tuple[int, int]:
        n = self.convolution.group_outputs
        c = self.convolution.group_inputs
        k2 = self.convolution.k2
        return min(c, n * k2), min(n, c * k2)

    def convolutions(self, rank: Rank) -> tuple[Convolution, ...]:
        """Return the geometry of the first layer, the core, and the last layer."""
        r1, r2 = _pair(rank)
        convolution = self.convolution
        groups = convolution.groups
        kernel = convolution.kernel
        n = convolution.group_outputs
        c = convolution.group_inputs
        core = replace(convolution, weight_shape=(groups * r2, r1, *kernel))
        axes = len(kernel)
        first = pointwise(c, r1, axes, groups)
        last = pointwise(r2, n, axes, groups)
        return first, core, last

    def errors(self, target: Target, ranks: Sequence[Rank]) -> Array:
        """Return the errors `(len(ranks),)`; 0 at the exact pair, where only rounding is left."""
        pairs = [_pair(rank) for rank in ranks]
        input_ranks = sorted({r1 for r1, r2 in pairs if (r1, r2) != self._exact})
        by_input_rank = {}
        if input_ranks:
            partition = _partition(target)
            by_input_rank = _errors(partition, input_ranks)
        errors = np.zeros(len(pairs))
        for at, (r1, r2) in enumerate(pairs):
            if (r1, r2) != self._exact:
                by_output_rank = by_input_rank[r1]
                errors[at] = by_output_rank[r2 - 1]
        return errors

    def layers(self, target: Target, rank: Rank) -> tuple[Layer, ...]:
        """Return the three layers, the last with the bias."""
        partition = _partition(target)
        rows, core, last = _factors(partition, *_pair(rank))
        core_outputs = block_low_rank.outputs_at_mean(partition, rows, core)
        mean_outputs = np.einsum("gnr,gr->gn", last, core_outputs)
        bias = target.bias(mean_outputs)
        first_geometry, core_geometry, last_geometry = self.convolutions(rank)
        first_weight = rows.reshape(first_geometry.weight_shape)
        core_weight = core.reshape(core_geometry.weight_shape)
        last_weight = last.reshape(last_geometry.weight_shape)
        return (
            Layer(first_geometry, first_weight, None),
            Layer(core_geometry, core_weight, None),
            Layer(last_geometry, last_weight, bias),
        )


def _errors(partition: BlockPartition, input_ranks: Sequence[int]) -> dict[int, Array]:
    """Return the errors of every r2 for each r1.

    Args:
        partition: the kernel offsets.
        input_ranks: the values of r1, ascending.

    Returns:
        by r1, the errors `(n,)` of r2 from 1 to n.
    """
    groups, n, count, _ = partition.weight.shape
    weight, covariance = block_low_rank.by_block(partition)
    rows = block_low_rank.leading_rows(weight, covariance, input_ranks[-1])
    white = block_low_rank.responses(partition, rows)
    # the covariance of the outputs that the leading rows make
    outputs = np.zeros((groups, n, n), white.dtype)
    by_input_rank = {}
    done = 0
    # the rows of a lower rank lead those of a higher one: each r1 adds its own to the covariance
    for r1 in input_ranks:
        more = white[..., done * count : r1 * count]
        gram = more @ more.mT
        outputs += gram
        done = r1
        ascending = linalg.eigvalsh(outputs)
        descending = ascending[:, ::-1]
        eigenvalues = np.maximum(descending, 0)
        strengths = eigenvalues.sum(axis=0)
        cumulated = strengths.cumsum()
        by_input_rank[r1] = partition.target.relative(cumulated)
    return by_input_rank


def _factors(partition: BlockPartition, r1: int, r2: int) -> tuple[Array, Array, Array]:
    """Return the weights of the three layers.

    Returns:
        rows: `(groups, 1, r1, c)`, which all kernel offsets share.
        core: `(groups, r2, r1, k2)`.
        last: `(groups, n, r2)`, the leading directions of the outputs.
    """
    rows, second = block_low_rank.factors(partition, r1)
    product = partition.product.swapaxes(1, 2)
    products = product @ rows.mT
    seen = products.transpose(0, 2, 3, 1)
    groups, n = second.shape[:2]
    # the covariance of the outputs of the first two layers, P (D C W^T)
    flat_seen = seen.reshape(groups, n, -1)
    flat_second = second.reshape(groups, n, -1)
    covariance = flat_second @ flat_seen.mT
    # it is symmetric but for rounding, and eigensolvers read one half alone
    symmetric = (covariance + covariance.mT) / 2
    _, last = linalg.leading(symmetric, r2)
    core = np.einsum("gnq,gnrb->gqrb", last, second)
    return rows, core, last


def _partition(target: Target) -> BlockPartition:
    return offset_blocks(target, range(len(target.layer.convolution.kernel)))


def _inexact_ranks(highest1: int, highest2: int) -> list[tuple[int, int]]:
    """Return pairs of ranks below the highest whose shares of these differ little."""
    pairs = []
    for r1 in _steps(highest1, _INPUT_STEPS):
        for r2 in _steps(highest2, _OUTPUT_STEPS):
            is_inexact = r1 < highest1 and r2 < highest2
            # r1 / highest1 against r2 / highest2, in whole numbers
            share1, share2 = r1 * highest2, r2 * highest1
            if (
                is_inexact
                and share1 <= _LOPSIDED * share2
                and share2 <= _LOPSIDED * share1
            ):
                pairs.append((r1, r2))
    return pairs


def _steps(highest: int, number: int) -> list[int]:
    lowest = max(1, highest / number)
    steps = np.linspace(lowest, highest, number)
    return sorted({round(step) for step in steps})


def _pair(rank: Rank) -> tuple[int, int]:
    assert isinstance(rank, tuple)
    return rank

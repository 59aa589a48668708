"""Grouped: a k x k convolution becomes one of g groups, with few outputs each, and a pointwise one.

Sources: for g = 1 Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification
and Detection", TPAMI 2016 (arXiv 1505.06798); for g > 1 Peng et al., "Extreme Network Compression
via Filter Group Approximation", ECCV 2018 (arXiv 1807.11254). With g = c it would be DAC.
"""

from dataclasses import dataclass, replace

from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_partition import BlockPartition, channel_blocks
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import TwoLayers, pointwise
from worker.engine.numerics.convolution import Convolution

_WIDEST = 2048
"""The most numbers in a patch for which several groups are considered.

More groups of wider patches take most of an analysis' time, and the forms chosen for trained
networks at most budgets are spatial and DAC (docs/method.md).
"""


def why_not_grouped(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    reason = no_spatial_extent(convolution)
    if reason is None and convolution.in_channels == convolution.groups:
        return "one input channel cannot be grouped"
    return reason


def grouped(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution for every divisor g < c of its c input channels, the smallest first.

    Wide convolutions, whose patches have more than 2048 numbers, are factored for g = 1 alone.

    Each run of `c / g` neighbouring input channels has r filters, the leading right singular
    vectors of its part of the weight (under the moments: of the whitened part); rank
    `min(n, c k2 / g)` is exact.

    Cost per output position: `r (c k2 + g n)`, against `n c k2`.

    >>> one, two = grouped(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups, made.stride) for made in two.convolutions(3)]
    [((6, 2, 3, 3), 2, (2, 2)), ((8, 6, 1, 1), 1, (1, 1))]
    """
    c = convolution.group_inputs
    # g = c is another form, DAC
    numbers = [1]
    if c * convolution.k2 <= _WIDEST:
        numbers = _divisors(c)[:-1]
    forms = []
    for g in numbers:
        variant = f"{g} groups" if g > 1 else "1 group"
        forms.append(Grouped(convolution, "grouped", variant, g))
    return tuple(forms)


@dataclass(frozen=True)
class Grouped(TwoLayers):
    """Blocks are `number` runs of neighbouring input channels."""

    number: int

    @property
    def sides(self) -> tuple[int, int]:
        """Outputs and the numbers of a run of channels."""
        convolution = self.convolution
        channels = convolution.group_inputs // self.number
        return convolution.group_outputs, channels * convolution.k2

    def geometry(self, rank: int) -> tuple[Convolution, Convolution]:
        """Return the grouped and the pointwise layer's geometry."""
        convolution = self.convolution
        groups = convolution.groups
        kernel = convolution.kernel
        n = convolution.group_outputs
        c = convolution.group_inputs
        g = self.number
        all_groups = groups * g
        weight_shape = (all_groups * rank, c // g, *kernel)
        first = replace(convolution, weight_shape=weight_shape, groups=all_groups)
        second = pointwise(g * rank, n, len(kernel), groups)
        return first, second

    def partition(self, target: Target) -> BlockPartition:
        """Return the runs of input channels."""
        return channel_blocks(target, self.number)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]

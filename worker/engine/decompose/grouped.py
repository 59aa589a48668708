"""Grouped: a k x k convolution becomes one of g groups, with few outputs each, and a pointwise one.

Sources: for g = 1 Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection",
TPAMI 2016 (arXiv 1505.06798); for g > 1 Peng et al., "Extreme Network Compression via Filter Group Approximation",
ECCV 2018 (arXiv 1807.11254). With g = c it would be DAC.
"""

from dataclasses import replace
from functools import partial

from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_low_rank import channel_blocks
from worker.engine.decompose.two_layers import pointwise, two_layers
from worker.engine.numerics.convolution import Convolution

_WIDEST = 2048
"""Numbers in a patch. Of wider ones a single group is looked at: more take most of an analysis' time there, and what is
chosen of trained networks at most budgets is spatial and DAC (docs/method.md)."""


def why_not_grouped(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    single = (
        "one input channel cannot be grouped"
        if convolution.in_channels == convolution.groups
        else None
    )
    return no_spatial_extent(convolution) or single


def grouped(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution for every divisor g of its input channels but their number itself, the smallest g first.

    Wide convolutions, whose patches have more than 2048 numbers, are factored for g = 1 alone.

    Each run of `c / g` neighbouring input channels has r filters, the leading right singular vectors of its part of
    the weight (under the moments: of the whitened part); rank `min(n, c k2 / g)` is exact.

    Cost per output position: `r (c k2 + g n)`, against `n c k2`.

    >>> one, two = grouped(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups, made.stride) for made in two.convolutions(3)]
    [((6, 2, 3, 3), 2, (2, 2)), ((8, 6, 1, 1), 1, (1, 1))]
    """
    c = convolution.in_channels // convolution.groups
    numbers = _divisors(c)[:-1] if c * convolution.k2 <= _WIDEST else [1]
    return tuple(
        split(convolution, g, "grouped", f"{g} groups" if g > 1 else "1 group") for g in numbers
    )


def split(convolution: Convolution, g: int, form: str, variant: str | None) -> Factorisation:
    """Factor each group of a convolution into g groups and a pointwise layer."""
    groups, kernel = convolution.groups, convolution.kernel
    n, c = convolution.out_channels // groups, convolution.in_channels // groups

    def geometry(rank: int) -> tuple[Convolution, Convolution]:
        first = replace(
            convolution, weight_shape=(groups * g * rank, c // g, *kernel), groups=groups * g
        )
        return first, pointwise(g * rank, n, len(kernel), groups)

    return two_layers(
        form, variant, (n, c // g * convolution.k2), partial(channel_blocks, count=g), geometry
    )


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]

"""DAC: a k x k convolution becomes a depthwise k x k and a pointwise one.

Source: Li et al., "DAC: Data-free Automatic Acceleration of Convolutional Networks", WACV 2019 (arXiv 1812.08374),
section 3, which is the case of no moments; the fit of the pointwise layer under moments is added here.
"""

from dataclasses import replace
from functools import partial

from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_low_rank import channel_blocks
from worker.engine.decompose.two_layers import pointwise, two_layers
from worker.engine.numerics.convolution import Convolution


def why_not_dac(convolution: Convolution) -> str | None:
    """Say why DAC does not apply to a convolution, or return None where it does."""
    return no_spatial_extent(convolution)


def dac(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution channel by channel.

    For every input channel i, `M_i = W[:, i].reshape(n, k2)` is projected onto its r leading right singular vectors
    (under the moments: of the whitened channel); those are r depthwise filters for channel i. At rank `min(n, k2)` it
    is exact.

    Cost per output position: `c r k2 + n c r`, against `n c k2`.

    >>> (form,) = dac(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups, made.stride) for made in form.convolutions(2)]
    [((8, 1, 3, 3), 4, (2, 2)), ((8, 8, 1, 1), 1, (1, 1))]
    """
    groups, kernel = convolution.groups, convolution.kernel
    n, c = convolution.out_channels // groups, convolution.in_channels // groups

    def geometry(rank: int) -> tuple[Convolution, Convolution]:
        depthwise = replace(
            convolution, weight_shape=(groups * c * rank, 1, *kernel), groups=groups * c
        )
        return depthwise, pointwise(c * rank, n, len(kernel), groups)

    return (
        two_layers("dac", None, (n, convolution.k2), partial(channel_blocks, count=c), geometry),
    )

"""DAC: a k x k convolution becomes a depthwise k x k and a pointwise one.

Source: Li et al., "DAC: Data-free Automatic Acceleration of Convolutional Networks", WACV 2019
(arXiv 1812.08374), section 3, which is the case of no moments; the fit of the pointwise layer under
moments is added here.
"""

from dataclasses import replace

from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_partition import BlockPartition, channel_blocks
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import TwoLayers, pointwise
from worker.engine.numerics.convolution import Convolution


def why_not_dac(convolution: Convolution) -> str | None:
    """Say why DAC does not apply to a convolution, or return None where it does."""
    return no_spatial_extent(convolution)


def dac(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution channel by channel.

    For every input channel i, `M_i = W[:, i].reshape(n, k2)` is projected onto its r leading right
    singular vectors (under the moments: of the whitened channel); those are r depthwise filters for
    channel i. At rank `min(n, k2)` it is exact.

    Cost per output position: `c r k2 + n c r`, against `n c k2`.

    >>> (form,) = dac(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups, made.stride) for made in form.convolutions(2)]
    [((8, 1, 3, 3), 4, (2, 2)), ((8, 8, 1, 1), 1, (1, 1))]
    """
    return (Dac(convolution, "dac", None),)


class Dac(TwoLayers):
    """Blocks are input channels."""

    @property
    def sides(self) -> tuple[int, int]:
        """Outputs and kernel offsets."""
        return self.convolution.group_outputs, self.convolution.k2

    def geometry(self, rank: int) -> tuple[Convolution, Convolution]:
        """Return the depthwise and the pointwise layer's geometry."""
        convolution = self.convolution
        groups, kernel = convolution.groups, convolution.kernel
        n, c = convolution.group_outputs, convolution.group_inputs
        depthwise_groups = groups * c
        weight_shape = (depthwise_groups * rank, 1, *kernel)
        depthwise = replace(
            convolution, weight_shape=weight_shape, groups=depthwise_groups
        )
        second = pointwise(c * rank, n, len(kernel), groups)
        return depthwise, second

    def partition(self, target: Target) -> BlockPartition:
        """Return the blocks of a patch: its input channels, one each."""
        return channel_blocks(target, self.convolution.group_inputs)

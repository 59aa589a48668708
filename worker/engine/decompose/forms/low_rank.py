"""Low-rank: a 1x1, linear or transposed layer becomes two with few channels between them.

Source: Xue et al., "Restructuring of Deep Neural Network Acoustic Models with Singular Value
Decomposition", Interspeech 2013; under the moments of the inputs, Zhang et al. (arXiv 1505.06798),
section 3.1.
"""

from dataclasses import replace

from worker.engine.decompose.applicability import depthwise
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_partition import BlockPartition, channel_blocks
from worker.engine.decompose.forms.grouped import Grouped
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import TwoLayers, pointwise
from worker.engine.numerics.convolution import Convolution


def why_not_low_rank(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    reason = depthwise(convolution)
    if reason is None and convolution.k2 > 1 and not convolution.transposed:
        return "its kernel is larger than 1x1"
    return reason


def low_rank(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a weight `(n, c)` into `(r, c)` and `(n, r)`: singular vectors, at `min(n, c)` exact.

    Stride and padding lie in the first layer. Cost per output position: `r (c + n)`, against `n c`.

    A transposed convolution multiplies every input position by a matrix `(n k2, c)` and sums what
    meets at an output position: that matrix is factored, and stride and padding lie in the second
    layer. Cost per input position: `r (c + n k2)`, against `n c k2`.

    >>> (form,) = low_rank(Convolution((10, 64), (), (), ()))
    >>> [made.weight_shape for made in form.convolutions(4)]
    [(4, 64), (10, 4)]
    >>> up = Convolution((64, 32, 2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), transposed=True)
    >>> (form,) = low_rank(up)
    >>> [(made.weight_shape, made.transposed) for made in form.convolutions(16)]
    [((16, 64, 1, 1), False), ((16, 32, 2, 2), True)]
    """
    if convolution.transposed:
        return (TransposedLowRank(convolution, "low-rank", None),)
    return (Grouped(convolution, "low-rank", None, 1),)


class TransposedLowRank(TwoLayers):
    """One block of all input channels; the second layer is the transposed one."""

    @property
    def sides(self) -> tuple[int, int]:
        """Inputs, and outputs at every kernel offset."""
        convolution = self.convolution
        return convolution.group_inputs, convolution.group_outputs * convolution.k2

    def geometry(self, rank: int) -> tuple[Convolution, Convolution]:
        """Return the pointwise and the transposed layer's geometry."""
        convolution = self.convolution
        groups, kernel = convolution.groups, convolution.kernel
        n, c = convolution.group_outputs, convolution.group_inputs
        weight_shape = (groups * rank, n, *kernel)
        second = replace(convolution, weight_shape=weight_shape)
        axes = len(kernel)
        first = pointwise(c, rank, axes, groups)
        return first, second

    def partition(self, target: Target) -> BlockPartition:
        """Return all input channels as one block."""
        return channel_blocks(target, 1)

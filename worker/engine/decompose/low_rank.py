"""Low-rank: a 1x1 convolution, a linear layer or a transposed convolution becomes two with few channels between them.

Source: Xue et al., "Restructuring of Deep Neural Network Acoustic Models with Singular Value Decomposition",
Interspeech 2013; under the moments of the inputs, Zhang et al. (arXiv 1505.06798), section 3.1.
"""

from dataclasses import replace
from functools import partial

from worker.engine.decompose.applicability import depthwise
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_low_rank import channel_blocks
from worker.engine.decompose.grouped import split
from worker.engine.decompose.two_layers import pointwise, two_layers
from worker.engine.numerics.convolution import Convolution


def why_not_low_rank(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    several = convolution.k2 > 1 and not convolution.transposed
    return depthwise(convolution) or ("its kernel is more than one offset" if several else None)


def low_rank(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a weight `(n, c)` into `(r, c)` and `(n, r)`: singular vectors, at rank `min(n, c)` exact.

    Stride and padding lie in the first layer. Cost per output position: `r (c + n)`, against `n c`.

    A transposed convolution multiplies every input position by a matrix `(n k2, c)` and sums what meets at an output
    position: that matrix is factored, and stride and padding lie in the second layer. Cost per input position:
    `r (c + n k2)`, against `n c k2`.

    >>> (form,) = low_rank(Convolution((10, 64), (), (), ()))
    >>> [made.weight_shape for made in form.convolutions(4)]
    [(4, 64), (10, 4)]
    >>> (form,) = low_rank(Convolution((64, 32, 2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), transposed=True))
    >>> [(made.weight_shape, made.transposed) for made in form.convolutions(16)]
    [((16, 64, 1, 1), False), ((16, 32, 2, 2), True)]
    """
    if not convolution.transposed:
        return (split(convolution, 1, "low-rank", None),)
    groups, kernel = convolution.groups, convolution.kernel
    n, c = convolution.out_channels // groups, convolution.in_channels // groups

    def geometry(rank: int) -> tuple[Convolution, Convolution]:
        second = replace(convolution, weight_shape=(groups * rank, n, *kernel))
        return pointwise(c, rank, len(kernel), groups), second

    sides = c, n * convolution.k2
    return (two_layers("low-rank", None, sides, partial(channel_blocks, count=1), geometry),)

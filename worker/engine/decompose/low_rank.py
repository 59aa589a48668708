"""Low-rank: a 1x1 convolution or a linear layer becomes two with few channels between them.

Source: Xue et al., "Restructuring of Deep Neural Network Acoustic Models with Singular Value Decomposition",
Interspeech 2013; under the moments of the inputs, Zhang et al. (arXiv 1505.06798), section 3.1.
"""

from worker.engine.convolution import Convolution
from worker.engine.decompose.factorisation import Factorisation
from worker.engine.decompose.grouped import split
from worker.engine.decompose.reasons import depthwise


def why_not_low_rank(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    return depthwise(convolution) or ("its kernel is more than one offset" if convolution.k2 > 1 else None)


def low_rank(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a weight `(n, c)` into `(r, c)` and `(n, r)`: singular vectors, at rank `min(n, c)` exact.

    Stride and padding lie in the first layer. Cost per output position: `r (c + n)`, against `n c`.

    >>> (form,) = low_rank(Convolution((10, 64), (), (), ()))
    >>> [made.weight_shape for made in form.convolutions(4)]
    [(4, 64), (10, 4)]
    """
    return (split(convolution, 1, "low-rank", None),)

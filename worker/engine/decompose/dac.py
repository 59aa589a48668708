"""DAC: a k x k convolution becomes a depthwise k x k and a pointwise one, from its weights alone.

Source: Li et al., "DAC: Data-free Automatic Acceleration of Convolutional Networks", WACV 2019 (arXiv 1812.08374),
section 3.
"""

from dataclasses import replace
from math import prod

import numpy as np

from worker.engine.convolution import Convolution, Layer
from worker.engine.decompose.factorisation import Factorisation


def why_not_dac(convolution: Convolution) -> str | None:
    """Say why DAC does not apply to a convolution, or return None where it does."""
    if convolution.transposed:
        return "transposed convolutions are left as they are"
    if len(convolution.kernel) != 2:
        return f"{len(convolution.kernel)}-dimensional convolutions are left as they are"
    if convolution.groups > 1:
        depthwise = convolution.groups == convolution.in_channels
        return "depthwise already" if depthwise else "grouped convolutions are left as they are"
    if convolution.k2 == 1:
        return "a 1x1 kernel has no spatial extent to factor"
    return None


def dac(layer: Layer) -> Factorisation:
    """Factor a convolution of one group channel by channel.

    For every input channel i, `M_i = W[:, i].reshape(n, k2)` is projected onto its r leading right singular vectors:
    those are r depthwise filters for channel i, and `M_i V_r` the pointwise weights that combine them. Each `M_i V_r
    V_r^T` is the best approximation of rank r (Eckart-Young); at rank `min(n, k2)` it is exact.

    Cost per output position: `c r k2 + n c r`, against `n c k2`.

    >>> rng = np.random.default_rng(0)
    >>> geometry = Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    >>> depthwise, pointwise = dac(Layer(geometry, rng.standard_normal((8, 4, 3, 3)), None)).layers(2)
    >>> depthwise.weight.shape, depthwise.convolution.groups, pointwise.weight.shape
    ((8, 1, 3, 3), 4, (8, 8, 1, 1))
    """
    convolution = layer.convolution
    n, c, *kernel = layer.weight.shape
    k2 = prod(kernel)
    matrices = np.ascontiguousarray(layer.weight.reshape(n, c, k2).transpose(1, 0, 2), dtype=np.float64)
    # The Gram matrices are k2 x k2: their eigenvectors are the right singular vectors, far cheaper than an SVD of
    # n x k2. The projection M V is computed from M itself, so the squared condition costs no accuracy.
    eigenvalues, eigenvectors = np.linalg.eigh(matrices.transpose(0, 2, 1) @ matrices)
    energy = np.maximum(eigenvalues[:, ::-1], 0).sum(axis=0)
    vectors = eigenvectors[:, :, ::-1]  # (c, k2, rank), the strongest first
    del matrices, eigenvectors
    ranks = min(n, k2)
    discarded = np.append(energy[::-1].cumsum()[::-1][1:], 0)[:ranks]
    discarded[-1] = 0  # beyond min(n, k2) there is only rounding
    total = energy.sum()

    def convolutions(rank: int) -> tuple[Convolution, Convolution]:
        ones = (1,) * len(kernel)
        depthwise = replace(convolution, weight_shape=(c * rank, 1, *kernel), groups=c)
        pointwise = Convolution((n, c * rank, *ones), ones, ((0, 0),) * len(kernel), ones)
        return depthwise, pointwise

    def layers(rank: int) -> tuple[Layer, Layer]:
        filters = vectors[:, :, :rank].transpose(0, 2, 1)  # (c, r, k2)
        mixing = np.einsum("nck,crk->ncr", layer.weight.reshape(n, c, k2).astype(np.float64), filters, optimize=True)
        first, second = convolutions(rank)
        return (
            Layer(first, filters.reshape(first.weight_shape), None),
            Layer(second, mixing.reshape(second.weight_shape), layer.bias),
        )

    return Factorisation("dac", discarded / total if total > 0 else discarded, convolutions, layers)

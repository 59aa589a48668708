"""Giving outputs back some of the size that a least-squares fit takes from them.

What a fit knows of an output varies less than the output does, by the share of the variance that is lost to it: its
error is least like that, but of the output itself it then gives only the share that is not lost. Where most is lost,
at tight budgets, one layer after another that makes everything smaller does more harm than larger errors would.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from worker.engine.calibration.statistics.batchnorm_statistics import together
from worker.engine.numerics.convolution import Layer


def compensated(layer: Layer, given: Iterable[Tensor], wanted: Iterable[Tensor]) -> Layer:
    """Return a layer whose outputs are larger than what it has `given`, where it was to give what was `wanted`.

    Both are `(rows, groups, channels / groups)`, batch after batch. A channel's deviations from its mean are divided by
    1 where least error is all that counts, and by the share that is not lost where the output's size is; here by 1 less
    the square of what is lost, which lies between the two, nearer to the second the more is lost. They come to vary no
    more than what was wanted, and nothing is made of channels that do not vary.
    """
    (mean, variance), (_, whole) = (
        together(part.flatten(1).double() for part in parts) for parts in (given, wanted)
    )
    kept = (variance / whole).clamp(max=1)
    factor = torch.minimum(1 / (1 - (1 - kept).square()), kept.rsqrt())
    factor = torch.where(factor.isfinite(), factor, 1)
    bias = torch.zeros_like(mean) if layer.bias is None else torch.from_numpy(layer.bias).to(mean)
    return replace(
        layer,
        weight=(
            layer.weight * factor.reshape(-1, *(1,) * (layer.weight.ndim - 1)).numpy(force=True)
        ).astype(layer.weight.dtype),
        bias=(mean + factor * (bias - mean)).numpy(force=True).astype(layer.weight.dtype),
    )

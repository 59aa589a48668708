"""Gain correction of least-squares fits.

A least-squares fit shrinks its outputs: their variance is R^2 times the target's, R^2 being the
share of the variance that the fit explains. At tight budgets this compounds from layer to layer and
does more harm than larger errors would, so part of the gain is restored.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from worker.engine.calibration.statistics.batchnorm_statistics import channel_statistics
from worker.engine.numerics.convolution import Layer


def restore_gain(
    layer: Layer, outputs: Iterable[Tensor], targets: Iterable[Tensor]
) -> Layer:
    """Return the layer with larger deviations of its outputs from their means.

    `outputs` are those of the layer and `targets` what it was fitted to, both `(rows, groups,
    channels / groups)`, batch after batch. The factor of a channel is 1 / (1 - (1 - R^2)^2): it
    lies between 1, which gives the least error, and 1 / R^2, and nears the latter as R^2 falls.
    Outputs never vary more than the targets. Channels that do not vary stay as they are.
    """
    mean, variance = channel_statistics(_flat(outputs))
    _, target_variance = channel_statistics(_flat(targets))
    explained = (variance / target_variance).clamp(max=1)
    unexplained = 1 - explained
    partial = 1 / (1 - unexplained.square())
    # The full factor restores all the variance.
    full = explained.rsqrt()
    factor = torch.minimum(partial, full)
    # Channels that do not vary have 0 / 0.
    factor = torch.where(factor.isfinite(), factor, 1)
    return _scaled(layer, mean, factor)


def _flat(batches: Iterable[Tensor]) -> Iterable[Tensor]:
    """Return the batches `(rows, channels)` in double precision."""
    return (rows.flatten(1).double() for rows in batches)


def _scaled(layer: Layer, mean: Tensor, factor: Tensor) -> Layer:
    """Return the layer with its outputs scaled about their mean, channel by channel."""
    dtype = layer.weight.dtype
    axes = (1,) * (layer.weight.ndim - 1)
    by_channel = factor.reshape(-1, *axes)
    weight = layer.weight * by_channel.numpy(force=True)
    bias = torch.zeros_like(mean)
    if layer.bias is not None:
        bias = torch.from_numpy(layer.bias).to(mean)
    scaled_bias = mean + factor * (bias - mean)
    return replace(
        layer,
        weight=weight.astype(dtype),
        bias=scaled_bias.numpy(force=True).astype(dtype),
    )

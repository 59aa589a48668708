"""Chains of layers in a site's place: computed in torch, and composed into one layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worker.engine.numerics import device
from worker.engine.numerics.convolution import Array, Convolution, Layer
from worker.engine.numerics.patches import convolve

Chain = tuple[Layer, ...]
"""Layers in a site's place; each of them feeds the next."""

Chains = Mapping[str, Chain]
"""The chain in each site's place, by the site's name."""


def run_chain(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Compute layers that feed one another.

    `x` has the shape `(batch, channels, *size)`, or `(..., channels)` for linear layers.
    """
    for layer in layers:
        weight = as_tensor(layer.weight, x)
        bias = None if layer.bias is None else as_tensor(layer.bias, x)
        x = convolve(layer.convolution, x, weight, bias)
    return x


@torch.no_grad()
def compose(layers: Sequence[Layer], convolution: Convolution) -> Layer:
    """Return the one layer of this geometry that equals a chain, found by running unit inputs.

    Only the last layer of the chain may have a bias.
    """
    groups = convolution.groups
    patch = convolution.patch
    identity = torch.eye(patch)
    unit = device.placed(identity)
    # Each group sees the same unit input, of the kernel's own size: the output is one position.
    with_axis = unit[:, None]
    in_groups = with_axis.expand(-1, groups, -1)
    x = in_groups.reshape(patch, -1, *convolution.kernel)
    *first, last = map(_at_one_position, layers)
    without_bias = replace(last, bias=None)
    outputs = run_chain([*first, without_bias], x)
    columns = outputs.reshape(patch, groups, -1)
    in_order = columns.permute(1, 2, 0)
    weight = in_order.reshape(convolution.weight_shape)
    return Layer(convolution, weight.numpy(force=True), last.bias)


def as_tensor(values: Array, like: Tensor) -> Tensor:
    """Return an array as a tensor with another one's type, on the device that computes."""
    # torch takes no arrays with negative strides.
    contiguous = np.ascontiguousarray(values)
    tensor = torch.from_numpy(contiguous)
    return device.placed(tensor.to(like.dtype))


def _at_one_position(layer: Layer) -> Layer:
    """Return the layer with unit stride and dilation and without padding."""
    axes = len(layer.convolution.kernel)
    ones = (1,) * axes
    still = replace(
        layer.convolution,
        stride=ones,
        padding=((0, 0),) * axes,
        dilation=ones,
    )
    return replace(layer, convolution=still)

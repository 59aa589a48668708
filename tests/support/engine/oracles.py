"""Oracles of layers: torch's convolutions, and patches that are cut out one by one."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from worker.engine.decompose import FORMS
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments

CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def pads(convolution, size):
    """The zeros before and after each axis, by ONNX's specification of auto_pad."""
    if not isinstance(convolution.padding, str):
        return convolution.padding
    results = []
    for axis, length in enumerate(size):
        reach = convolution.dilation[axis] * (convolution.kernel[axis] - 1) + 1
        stride = convolution.stride[axis]
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        halves = (total // 2, total - total // 2)
        results.append(halves if convolution.padding == "same_upper" else halves[::-1])
    return tuple(results)


def padded(convolution, x):
    ends = [end for pair in reversed(pads(convolution, x.shape[2:])) for end in pair]
    return functional.pad(x, ends)


def run(layers, x):
    for layer in layers:
        geometry = layer.convolution
        weight = torch.from_numpy(np.ascontiguousarray(layer.weight))
        bias = (
            None
            if layer.bias is None
            else torch.from_numpy(np.ascontiguousarray(layer.bias))
        )
        if not geometry.kernel:
            x = functional.linear(x, weight, bias)
            continue
        run_one = CONV[len(geometry.kernel)]
        x = run_one(
            padded(geometry, x),
            weight,
            bias,
            geometry.stride,
            0,
            geometry.dilation,
            geometry.groups,
        )
    return x


def patches(convolution, x):
    """The patches of a layer, `(groups, positions, m)`, cut out by a convolution with ones."""
    groups = convolution.groups
    c = convolution.in_channels // convolution.groups
    m = c * convolution.k2
    axes = len(convolution.kernel)
    picks = (
        torch.eye(m, dtype=x.dtype)
        .reshape(m, c, *convolution.kernel)
        .repeat(groups, 1, *[1] * axes)
    )
    cut = run(
        [
            Layer(
                replace(convolution, weight_shape=tuple(picks.shape)),
                picks.numpy(),
                None,
            )
        ],
        x,
    )
    return cut.transpose(0, 1).reshape(groups, m, -1).transpose(1, 2).numpy()


def measured(convolution, x):
    rows = patches(convolution, x)
    mean = rows.mean(axis=1)
    centred = rows - mean[:, None]
    return Moments.of(mean, centred.swapaxes(1, 2) @ centred / rows.shape[1])


def inputs(layer, batch=3, seed=0):
    """Correlated inputs of a mean other than 0."""
    convolution = layer.convolution
    size = tuple(
        max(4, d * (k - 1) + 1)
        for d, k in zip(convolution.dilation, convolution.kernel, strict=True)
    )
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((convolution.in_channels, convolution.in_channels))
    x = np.tensordot(
        rng.standard_normal((batch, *size, convolution.in_channels)) + 0.5, mixing, 1
    )
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def factorisations(convolution, form=None):
    for name, (why_not, factorise) in FORMS.items():
        if form in (None, name) and why_not(convolution) is None:
            yield from factorise(convolution)


def random_layer(n=12, c=8, kernel=(3, 3), groups=1, seed=0):
    axes = len(kernel)
    geometry = Convolution(
        (n, c // groups, *kernel), (1,) * axes, ((1, 1),) * axes, (1,) * axes, groups
    )
    return Layer(
        geometry,
        np.random.default_rng(seed).standard_normal(geometry.weight_shape),
        None,
    )

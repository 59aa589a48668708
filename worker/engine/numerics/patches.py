"""Convolutions in torch: computed, and taken apart into the patches that their weights multiply."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from worker.engine.numerics.convolution import Convolution

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def convolve(convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute one convolution, or a linear layer (without spatial axes, channels on the last axis)."""
    axes = len(convolution.kernel)
    if axes == 0:
        return F.linear(x, weight, bias)
    padding = ends(convolution, x.shape[-axes:])
    if convolution.transposed:
        settings = (
            convolution.stride,
            0,
            convolution.output_padding,
            convolution.groups,
            convolution.dilation,
        )
        full = _TRANSPOSED[axes](x, weight, bias, *settings)
        for axis, (before, behind) in enumerate(padding, start=full.dim() - axes):
            full = full.narrow(axis, before, full.shape[axis] - before - behind)
        return full
    even = all(before == behind for before, behind in padding)
    data = x if even else pad(x, padding)
    inside = [before for before, _ in padding] if even else [0] * axes
    return _CONVOLVE[axes](
        data, weight, bias, convolution.stride, inside, convolution.dilation, convolution.groups
    )


def rows(convolution: Convolution, x: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return the patches of an input, `(positions, groups, m)` of `Convolution.patch` numbers, in the weight's order.

    `positions` picks among all of them (batch and output positions, flattened; transposed: input positions); None
    stands for all.
    """
    axes, groups = len(convolution.kernel), convolution.groups
    if axes == 0 or convolution.transposed:
        flat = (x.movedim(1, -1) if axes else x).reshape(-1, groups, convolution.patch)
        return flat if positions is None else flat[positions]
    windows = pad(x, ends(convolution, x.shape[-axes:]))
    for axis in range(axes):
        step = convolution.dilation[axis]
        reach = step * (convolution.kernel[axis] - 1) + 1
        windows = windows.unfold(2 + axis, reach, convolution.stride[axis])[..., ::step]
    spatial = range(2, 2 + axes)
    windows = windows.permute(
        0, *spatial, 1, *range(2 + axes, 2 + 2 * axes)
    )  # batch, positions, channels, kernel
    if positions is not None:
        picked = torch.unravel_index(positions, windows.shape[: 1 + axes])
        windows = windows[picked]
    return windows.reshape(-1, groups, convolution.in_channels // groups * convolution.k2)


def results(convolution: Convolution, y: Tensor, positions: Tensor | None = None) -> Tensor:
    """Return an output's values at the same positions, `(positions, groups, n // groups)`."""
    flat = y.movedim(1, -1) if convolution.kernel else y
    flat = flat.reshape(-1, convolution.groups, convolution.out_channels // convolution.groups)
    return flat if positions is None else flat[positions]


def products(patches: Tensor) -> Tensor:
    """Return the sums `(groups, m, m)` of patches' products with themselves, of `(groups, rows, m)`.

    >>> products(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [[[10.0, 14.0], [14.0, 20.0]]]
    """
    if patches.device.type != "cpu":
        return patches.mT @ patches
    array = patches.numpy()
    return torch.from_numpy(
        np.matmul(array.mT, array)
    )  # numpy, unlike torch, computes one half of what mirrors itself


def pad(x: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Put zeros before and behind the last axes."""
    return (
        F.pad(x, [size for pair in reversed(padding) for size in pair])
        if any(map(any, padding))
        else x
    )


def ends(convolution: Convolution, size: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the padding before and behind each axis for an input of this size, with rules made numbers."""
    if not isinstance(convolution.padding, str):
        return convolution.padding
    found = []
    for axis, output in enumerate(convolution.output_size(size)):
        reach = convolution.dilation[axis] * (convolution.kernel[axis] - 1) + 1
        if convolution.transposed:
            total = max((size[axis] - 1) * convolution.stride[axis] + reach - output, 0)
        else:
            total = max((output - 1) * convolution.stride[axis] + reach - size[axis], 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if convolution.padding == "same_upper" else (more, less))
    return tuple(found)

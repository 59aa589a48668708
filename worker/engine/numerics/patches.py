"""Convolutions in torch: computed, and taken apart into the patches that their weights multiply."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.same_padding import same_padding, split_padding

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def convolve(
    convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Compute one convolution of an input `(batch, channels, *size)`.

    A linear layer, without spatial axes, has its channels on the last axis.
    """
    axes = len(convolution.kernel)
    if axes == 0:
        return F.linear(x, weight, bias)
    if convolution.transposed:
        return _convolve_transposed(convolution, x, weight, bias)
    size = x.shape[-axes:]
    padding = ends(convolution, size)
    inside = [before for before, _ in padding]
    # torch pads both ends alike: other padding is put around the input
    is_uneven = any(before != after for before, after in padding)
    if is_uneven:
        x = pad(x, padding)
        inside = [0] * axes
    stride, dilation = convolution.stride, convolution.dilation
    run = _CONVOLVE[axes]
    return run(x, weight, bias, stride, inside, dilation, convolution.groups)


def _convolve_transposed(
    convolution: Convolution, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    axes = len(convolution.kernel)
    padding = ends(convolution, x.shape[-axes:])
    output = _TRANSPOSED[axes](
        x,
        weight,
        bias,
        stride=convolution.stride,
        output_padding=convolution.output_padding,
        groups=convolution.groups,
        dilation=convolution.dilation,
    )
    # torch crops both ends alike: the full output is cropped here
    for axis, (before, after) in enumerate(padding, start=output.dim() - axes):
        output = output.narrow(axis, before, output.shape[axis] - before - after)
    return output


def rows(
    convolution: Convolution, x: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Return the patches of an input, in the weight's order.

    Args:
        convolution: the geometry.
        x: the input, `(batch, channels, *size)`.
        positions: indices into batch and output positions, flattened (transposed: input
            positions); None selects all.

    Returns:
        `(positions, groups, m)`; m is `Convolution.patch`.
    """
    axes, groups = len(convolution.kernel), convolution.groups
    if axes == 0 or convolution.transposed:
        channels_last = _channels_last(convolution, x)
        flat = channels_last.reshape(-1, groups, convolution.patch)
        return _selected(flat, positions)
    size = x.shape[-axes:]
    padding = ends(convolution, size)
    windows = pad(x, padding)
    for axis in range(axes):
        dilation = convolution.dilation[axis]
        extent = convolution.extent(axis)
        stride = convolution.stride[axis]
        windows = windows.unfold(2 + axis, extent, stride)[..., ::dilation]
    # from (batch, channels, positions, kernel) to (batch, positions, channels, kernel)
    position_axes = range(2, 2 + axes)
    kernel_axes = range(2 + axes, 2 + 2 * axes)
    windows = windows.permute(0, *position_axes, 1, *kernel_axes)
    if positions is not None:
        counts = windows.shape[: 1 + axes]
        windows = windows[_coordinates(positions, counts)]
    return windows.reshape(-1, groups, convolution.patch)


def _coordinates(positions: Tensor, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the indices along every axis of flat positions.

    torch's own function imports its symbolic shapes first, which take a second.
    """
    flat = positions.numpy(force=True)
    indices = np.unravel_index(flat, tuple(shape))
    return tuple(map(torch.from_numpy, indices))


def results(
    convolution: Convolution, y: Tensor, positions: Tensor | None = None
) -> Tensor:
    """Return an output's values at the same positions as `rows`.

    Args:
        convolution: the geometry.
        y: the output, `(batch, channels, *size)`.
        positions: as for `rows`.

    Returns:
        `(positions, groups, n // groups)`.
    """
    channels_last = _channels_last(convolution, y)
    flat = channels_last.reshape(-1, convolution.groups, convolution.group_outputs)
    return _selected(flat, positions)


def _selected(flat: Tensor, positions: Tensor | None) -> Tensor:
    """Return the rows at these positions; None selects all."""
    if positions is None:
        return flat
    return flat[positions]


def _channels_last(convolution: Convolution, x: Tensor) -> Tensor:
    """Return a tensor with its channels on the last axis, where those of linear layers are."""
    if not convolution.kernel:
        return x
    return x.movedim(1, -1)


def products(patches: Tensor) -> Tensor:
    """Return the sums `(groups, m, m)` of the patches' outer products, of `(groups, rows, m)`.

    >>> products(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [[[10.0, 14.0], [14.0, 20.0]]]
    """
    if patches.device.type != "cpu":
        return patches.mT @ patches
    array = patches.numpy()
    # numpy, unlike torch, computes only one half of a symmetric product
    return torch.from_numpy(np.matmul(array.mT, array))


def pad(x: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
    """Put zeros before and after the last axes."""
    sizes = []
    for before, after in reversed(padding):
        sizes += [before, after]
    if not any(sizes):
        return x
    return F.pad(x, sizes)


def ends(convolution: Convolution, size: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the padding before and after each axis for an input of this spatial size.

    Rules of padding become numbers.
    """
    if not isinstance(convolution.padding, str):
        return convolution.padding
    upper = convolution.padding == "same_upper"
    if not convolution.transposed:
        kernel, dilation = convolution.kernel, convolution.dilation
        return same_padding(size, kernel, convolution.stride, dilation, upper=upper)
    # a transposed output is `size * stride` long: what the last window covers beyond is cropped
    padding = []
    for axis, stride in enumerate(convolution.stride):
        covered = convolution.extent(axis)
        total = max(covered - stride, 0)
        padding.append(split_padding(total, upper=upper))
    return tuple(padding)

"""ONNX's pools as torch functions: any padding, dilation and rounding of the output's size."""

from collections.abc import Callable, Sequence
from math import inf, prod

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    without_attributes,
)
from worker.engine.formats.onnx.operators.windows import (
    Pads,
    Window,
    has_padding,
    pad,
    require_axes,
    symmetric,
)

_Pool = Callable[..., Tensor]
# By the number of spatial axes.
_MAX: dict[int, _Pool] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_MEAN: dict[int, _Pool] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def _max(operator: Operator) -> Function:
    """Return the largest element of each window; pads never are."""
    kernel, window = _kernel_and_window(operator)

    def pool(x: Tensor) -> Tensor:
        size = x.shape[2:]
        own_pads = window.pads(size, kernel)
        pads = _rounded_up(operator, window, kernel, size, own_pads)
        padding = symmetric(pads)
        # torch's own padding takes no copy of the data.
        if padding is None or not _torch_pads(padding, kernel):
            x = pad(x, pads, -inf)
            padding = [0] * len(kernel)
        run = _MAX[len(kernel)]
        return run(x, kernel, window.stride, padding, window.dilation)

    return pool


def _torch_pads(padding: Sequence[int], kernel: Sequence[int]) -> bool:
    """Return whether torch's own padding suffices, which is at most half a kernel.

    >>> _torch_pads([1], [2]), _torch_pads([1], [1])
    (True, False)
    """
    pairs = zip(padding, kernel, strict=True)
    return all(2 * size <= extent for size, extent in pairs)


def _mean(operator: Operator) -> Function:
    """Sum each window, padded by zeros, and divide by the number of elements that count.

    These are the elements of the input, and with `count_include_pad` also those of the pads, but
    never those that only the rounding of the output's size adds.
    """
    kernel, window = _kernel_and_window(operator)
    counts_pads = bool(operator.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        size = x.shape[2:]
        pads = window.pads(size, kernel)
        all_pads = _rounded_up(operator, window, kernel, size, pads)
        padded = pad(x, all_pads)
        sums = _sums(padded, kernel, window)
        is_rounded = all_pads != pads
        if not is_rounded and (counts_pads or not has_padding(pads)):
            return sums / prod(kernel)
        # The sums over ones are the numbers of elements that count.
        ones = torch.ones((1, 1, *size), dtype=x.dtype)
        if counts_pads:
            ones = pad(ones, pads, 1.0)
            all_pads = _additional(pads, all_pads)
        padded_ones = pad(ones, all_pads)
        counts = _sums(padded_ones, kernel, window)
        return sums / counts

    return pool


def _additional(pads: Pads, all_pads: Pads) -> Pads:
    """Return the padding after each axis that one set of pads has in excess of another.

    >>> _additional(((1, 1), (0, 0)), ((1, 3), (0, 0)))
    ((0, 2), (0, 0))
    """
    additional = []
    for (_, after), (_, after_all) in zip(pads, all_pads, strict=True):
        additional.append((0, after_all - after))
    return tuple(additional)


def _power(operator: Operator) -> Function:
    """Return the p-norm of each window."""
    kernel, window = _kernel_and_window(operator)
    order = operator.get("p", 2)

    def pool(x: Tensor) -> Tensor:
        size = x.shape[2:]
        own_pads = window.pads(size, kernel)
        pads = _rounded_up(operator, window, kernel, size, own_pads)
        powers = pad(x.abs() ** order, pads)
        sums = _sums(powers, kernel, window)
        return sums.pow(1 / order)

    return pool


def _kernel_and_window(operator: Operator) -> tuple[tuple[int, ...], Window]:
    """Read a pool's kernel and window; forms that torch does not support are left out."""
    require_axes(operator)
    operator.require_floats()
    kernel = tuple(operator.get("kernel_shape"))
    operator.require(len(kernel) in _MAX)
    window = Window.of(operator, len(kernel))
    return kernel, window


def _rounded_up(
    operator: Operator,
    window: Window,
    kernel: Sequence[int],
    size: Sequence[int],
    pads: Pads,
) -> Pads:
    """Return pads with more after each axis where `ceil_mode` rounds the output's size up.

    The last window must start on the input or on the pads before it.
    """
    if not operator.get("ceil_mode", 0):
        return pads
    rounded = []
    for axis, (before, after) in enumerate(pads):
        gaps = kernel[axis] - 1
        span = window.dilation[axis] * gaps + 1
        stride = window.stride[axis]
        length = size[axis] + before
        room = length + after - span
        steps = -(-room // stride)
        # A window that begins on the pads after the input is left out.
        if steps * stride >= length:
            steps -= 1
        last_start = steps * stride
        needed = last_start + span - length
        rounded.append((before, max(after, needed)))
    return tuple(rounded)


def _sums(x: Tensor, kernel: tuple[int, ...], window: Window) -> Tensor:
    """Return the sum over each window."""
    # torch's mean has no dilation; a convolution with ones, channel by channel, has.
    if any(step > 1 for step in window.dilation):
        zeros = [0] * len(kernel)
        channels = x.shape[1]
        ones = torch.ones((channels, 1, *kernel), dtype=x.dtype)
        return torch.convolution(
            x,
            ones,
            bias=None,
            stride=window.stride,
            padding=zeros,
            dilation=window.dilation,
            transposed=False,
            output_padding=zeros,
            groups=channels,
        )
    means = _MEAN[len(kernel)](x, kernel, window.stride)
    return means * prod(kernel)


def _spatial_axes(x: Tensor) -> tuple[int, ...]:
    """Return the axes after batch and channels."""
    return tuple(range(2, x.dim()))


def _global_mean(x: Tensor) -> Tensor:
    """Return the mean of each channel."""
    return x.mean(_spatial_axes(x), keepdim=True)


def _global_max(x: Tensor) -> Tensor:
    """Return the largest element of each channel."""
    return x.amax(_spatial_axes(x), keepdim=True)


def _global_power(operator: Operator) -> Function:
    """Return the p-norm of each channel."""
    order = operator.get("p", 2)
    return lambda x: torch.linalg.vector_norm(x, order, _spatial_axes(x), keepdim=True)


TABLE: dict[str, Builder] = {
    "AveragePool": _mean,
    "GlobalAveragePool": without_attributes(_global_mean),
    "GlobalLpPool": _global_power,
    "GlobalMaxPool": without_attributes(_global_max),
    "LpPool": _power,
    "MaxPool": _max,
}

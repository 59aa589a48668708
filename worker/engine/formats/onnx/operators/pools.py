"""ONNX's pools as torch functions: any padding, dilation and rounding of the output's size."""

from collections.abc import Callable, Sequence
from math import inf, prod

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator, plain
from worker.engine.formats.onnx.operators.windows import (
    Pads,
    Window,
    padded,
    require_axes,
    symmetric,
)

_Pool = Callable[..., Tensor]
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
    kernel, window = _read(operator)

    def pool(x: Tensor) -> Tensor:
        pads = window.pads(x.shape[2:], kernel)
        pads = _extended(operator, window, kernel, x.shape[2:], pads)
        padding = symmetric(pads)
        # torch pads by itself no more than half a kernel
        if padding is None or any(
            2 * size > extent for size, extent in zip(padding, kernel, strict=True)
        ):
            x, padding = padded(x, pads, -inf), [0] * len(kernel)
        return _MAX[len(kernel)](x, kernel, window.stride, padding, window.dilation)

    return pool


def _mean(operator: Operator) -> Function:
    """Sum each window, padded by zeros, and divide by how much of it counts: the input, and pads where asked for."""
    kernel, window = _read(operator)
    with_pads = bool(operator.get("count_include_pad", 0))

    def pool(x: Tensor) -> Tensor:
        pads = window.pads(x.shape[2:], kernel)
        whole = _extended(operator, window, kernel, x.shape[2:], pads)
        sums = _sums(padded(x, whole), kernel, window)
        if whole == pads and (with_pads or not any(any(pair) for pair in pads)):
            return sums / prod(kernel)
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
        if with_pads:
            ones = padded(ones, pads, 1.0)
            whole = tuple((0, far - near) for (_, near), (_, far) in zip(pads, whole, strict=True))
        return sums / _sums(padded(ones, whole), kernel, window)

    return pool


def _power(operator: Operator) -> Function:
    kernel, window = _read(operator)
    order = operator.get("p", 2)

    def pool(x: Tensor) -> Tensor:
        pads = _extended(operator, window, kernel, x.shape[2:], window.pads(x.shape[2:], kernel))
        return _sums(padded(x.abs() ** order, pads), kernel, window).pow(1 / order)

    return pool


def _read(operator: Operator) -> tuple[tuple[int, ...], Window]:
    require_axes(operator)
    operator.require_floats()
    kernel = tuple(operator.get("kernel_shape"))
    operator.require(len(kernel) in _MAX)
    return kernel, Window.of(operator, len(kernel))


def _extended(
    operator: Operator, window: Window, kernel: Sequence[int], size: Sequence[int], pads: Pads
) -> Pads:
    """Return the pads with what a size that is rounded up needs more behind.

    The last window has to start on the input or on the pads before it.
    """
    if not operator.get("ceil_mode", 0):
        return pads
    found = []
    for axis, (before, behind) in enumerate(pads):
        reach, stride = window.dilation[axis] * (kernel[axis] - 1) + 1, window.stride[axis]
        steps = -(-(size[axis] + before + behind - reach) // stride)
        if steps * stride >= size[axis] + before:
            steps -= 1
        found.append((before, max(behind, steps * stride + reach - size[axis] - before)))
    return tuple(found)


def _sums(x: Tensor, kernel: tuple[int, ...], window: Window) -> Tensor:
    if any(step > 1 for step in window.dilation):
        axes, channels = len(kernel), x.shape[1]
        ones, none = torch.ones((channels, 1, *kernel), dtype=x.dtype), [0] * axes
        return torch.convolution(
            x, ones, None, window.stride, none, window.dilation, False, none, channels
        )
    return _MEAN[len(kernel)](x, kernel, window.stride) * prod(kernel)


def _global_mean(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def _global_max(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


def _global_power(operator: Operator) -> Function:
    order = operator.get("p", 2)
    return lambda x: torch.linalg.vector_norm(x, order, tuple(range(2, x.dim())), keepdim=True)


TABLE: dict[str, Builder] = {
    "AveragePool": _mean,
    "GlobalAveragePool": plain(_global_mean),
    "GlobalLpPool": _global_power,
    "GlobalMaxPool": plain(_global_max),
    "LpPool": _power,
    "MaxPool": _max,
}

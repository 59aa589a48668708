"""ONNX's operators with weights as torch functions: convolutions and matrix products."""

from collections.abc import Callable

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
    pad,
    require_axes,
    symmetric,
)
from worker.engine.numerics.same_padding import split_padding


def _convolution(operator: Operator) -> Function:
    require_axes(operator)
    groups = operator.get("group", 1)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        zeros = [0] * len(kernel)
        window = Window.of(operator, len(kernel))
        pads = window.pads(x.shape[2:], kernel)
        padding = symmetric(pads)
        if padding is None:
            x = pad(x, pads)
            padding = zeros
        return torch.convolution(
            x, weight, bias, window.stride, padding, window.dilation, False, zeros, groups
        )

    return convolve


def _transposed_convolution(operator: Operator) -> Function:
    """Convolve without padding onto the largest output, then crop it, or extend it by zeros."""
    require_axes(operator)
    groups = operator.get("group", 1)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        axes = weight.dim() - 2
        zeros = [0] * axes
        window = Window.of(operator, axes)
        full = torch.convolution(
            x, weight, None, window.stride, zeros, window.dilation, True, zeros, groups
        )
        crops = _crops(operator, window, x, full)
        y = pad(full, tuple((-before, -after) for before, after in crops))
        if bias is None:
            return y
        return y + bias.reshape(-1, *(1,) * axes)

    return convolve


def _crops(operator: Operator, window: Window, x: Tensor, full: Tensor) -> Pads:
    """Return the sizes to crop before and after each axis of the largest output.

    1. An output_shape decides alone; a SAME rule asks for the input's size times the stride.
    2. Otherwise the pads are cropped, less the output_padding after each axis.
    """
    axes = len(window.stride)
    extra = tuple(operator.get("output_padding", ())) or (0,) * axes
    full_size = full.shape[2:]
    size = tuple(operator.get("output_shape", ()))[-axes:]
    if not size and window.is_same:
        size = _same_size(window, x.shape[2:], full_size)
    crops = []
    if size:
        for axis in range(axes):
            total = full_size[axis] + extra[axis] - size[axis]
            before, _ = split_padding(max(total, 0), upper=window.is_upper)
            crops.append((before, full_size[axis] - size[axis] - before))
        return tuple(crops)
    pads = ((0, 0),) * axes if window.rule == "VALID" else window.explicit
    for (before, after), more in zip(pads, extra, strict=True):
        crops.append((before, after - more))
    return tuple(crops)


def _same_size(
    window: Window, input_size: tuple[int, ...], full_size: tuple[int, ...]
) -> tuple[int, ...]:
    sizes = []
    for size, stride, full in zip(input_size, window.stride, full_size, strict=True):
        sizes.append(min(size * stride, full))
    return tuple(sizes)


def _gemm(operator: Operator) -> Function:
    """Compute `alpha * a @ b + beta * c`, without multiplications by 1."""
    operator.require_floats()
    alpha = operator.get("alpha", 1.0)
    beta = operator.get("beta", 1.0)
    left = _transposition(operator.get("transA", 0))
    right = _transposition(operator.get("transB", 0))

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        matrix = right(b)
        has_row = c is not None and c.dim() == 1 and len(c) == matrix.shape[1]
        if has_row and alpha == beta == 1.0:
            return functional.linear(left(a), matrix.T, c)
        product = left(a) @ matrix
        if alpha != 1.0:
            product = alpha * product
        if c is None:
            return product
        if beta != 1.0:
            c = beta * c
        return product + c

    return gemm


def _transposition(transposed: bool) -> Callable[[Tensor], Tensor]:
    if transposed:
        return lambda x: x.T
    return lambda x: x


def _einsum(operator: Operator) -> Function:
    equation = operator.get("equation")
    return lambda *values: torch.einsum(equation, *values)


TABLE: dict[str, Builder] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": without_attributes(torch.matmul),
}

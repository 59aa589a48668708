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
    """Convolve data `(batch, channels, *size)` with a weight `(n, channels // groups, *kernel)`."""
    require_axes(operator)
    groups = operator.get("group", 1)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        zeros = [0] * len(kernel)
        window = Window.of(operator, len(kernel))
        pads = window.pads(x.shape[2:], kernel)
        padding = symmetric(pads)
        # torch pads both sides alike, without a copy of the data.
        if padding is None:
            x = pad(x, pads)
            padding = zeros
        return torch.convolution(
            x,
            weight,
            bias,
            stride=window.stride,
            padding=padding,
            dilation=window.dilation,
            transposed=False,
            output_padding=zeros,
            groups=groups,
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
            x,
            weight,
            bias=None,
            stride=window.stride,
            padding=zeros,
            dilation=window.dilation,
            transposed=True,
            output_padding=zeros,
            groups=groups,
        )
        crops = _crops(operator, window, x, full)
        y = pad(full, tuple((-before, -after) for before, after in crops))
        # The bias comes last: positions that the crops add have it too.
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
    output_shape = tuple(operator.get("output_shape", ()))
    size = output_shape[-axes:]
    if not size and window.is_same:
        input_size = x.shape[2:]
        size = _same_size(window, input_size, full_size)
    crops = []
    if size:
        for axis in range(axes):
            surplus = full_size[axis] - size[axis]
            total = max(surplus + extra[axis], 0)
            before, _ = split_padding(total, upper=window.is_upper)
            after_crop = surplus - before
            crops.append((before, after_crop))
        return tuple(crops)
    pads = window.explicit
    if window.rule == "VALID":
        pads = ((0, 0),) * axes
    pairs = zip(pads, extra, strict=True)
    for (before, after), more in pairs:
        crops.append((before, after - more))
    return tuple(crops)


def _same_size(
    window: Window, input_size: tuple[int, ...], full_size: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the size of a transposed convolution with a SAME rule, at most the full one."""
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
        outputs = matrix.shape[1]
        has_row = c is not None and c.shape == (outputs,)
        # torch adds a full row within the product.
        if has_row and alpha == beta == 1.0:
            return functional.linear(left(a), matrix.T, c)
        product = left(a) @ matrix
        # A factor of 1 must not take another pass over the product.
        if alpha != 1.0:
            product = alpha * product
        if c is None:
            return product
        if beta != 1.0:
            c = beta * c
        return product + c

    return gemm


def _transposition(transposed: bool) -> Callable[[Tensor], Tensor]:
    """Return a function that transposes a matrix, or returns it as it is.

    >>> _transposition(True)(torch.zeros(2, 3)).shape
    torch.Size([3, 2])
    """
    if transposed:
        return lambda x: x.T
    return lambda x: x


def _einsum(operator: Operator) -> Function:
    """Sum products over the indices that the equation's result does not have."""
    equation = operator.get("equation")
    return lambda *values: torch.einsum(equation, *values)


TABLE: dict[str, Builder] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": without_attributes(torch.matmul),
}

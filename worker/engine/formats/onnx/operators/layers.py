"""ONNX's operators with weights as torch functions: convolutions and matrix products."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator, plain
from worker.engine.formats.onnx.operators.windows import (
    Pads,
    Window,
    halved,
    padded,
    require_axes,
    symmetric,
)


def _convolution(operator: Operator) -> Function:
    require_axes(operator)
    groups = operator.get("group", 1)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        window = Window.of(operator, len(kernel))
        pads = window.pads(x.shape[2:], kernel)
        padding = symmetric(pads)
        if padding is None:
            x, padding = padded(x, pads), [0] * len(kernel)
        none = [0] * len(kernel)
        return torch.convolution(
            x, weight, bias, window.stride, padding, window.dilation, False, none, groups
        )

    return convolve


def _transposed(operator: Operator) -> Function:
    """Convolve onto the largest output, without padding; then crop it, or extend it by what no input reaches."""
    require_axes(operator)
    groups = operator.get("group", 1)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        axes = weight.dim() - 2
        window = Window.of(operator, axes)
        none = [0] * axes
        y = torch.convolution(
            x, weight, None, window.stride, none, window.dilation, True, none, groups
        )
        y = padded(
            y, tuple((-before, -behind) for before, behind in _overlap(operator, window, x, y))
        )
        return y if bias is None else y + bias.reshape(-1, *(1,) * axes)

    return convolve


def _overlap(operator: Operator, window: Window, x: Tensor, y: Tensor) -> Pads:
    """Return how much of the largest output is cropped before and behind each axis."""
    axes = len(window.stride)
    extra = tuple(operator.get("output_padding", ())) or (0,) * axes
    told = tuple(operator.get("output_shape", ()))[-axes:]
    if not told and window.rule in ("SAME_UPPER", "SAME_LOWER"):
        told = tuple(
            min(size * stride, full)
            for size, stride, full in zip(x.shape[2:], window.stride, y.shape[2:], strict=True)
        )
    if not told:
        pads = ((0, 0),) * axes if window.rule == "VALID" else window.explicit
        return tuple(
            (before, behind - more) for (before, behind), more in zip(pads, extra, strict=True)
        )
    totals = (
        full + more - wanted for full, more, wanted in zip(y.shape[2:], extra, told, strict=True)
    )
    split = (halved(max(total, 0), window.rule == "SAME_UPPER") for total in totals)
    return tuple(
        (before, full - wanted - before)
        for (before, _), full, wanted in zip(split, y.shape[2:], told, strict=True)
    )


def _gemm(operator: Operator) -> Function:
    alpha, beta = operator.get("alpha", 1.0), operator.get("beta", 1.0)
    first, second = _turned(operator.get("transA", 0)), _turned(operator.get("transB", 0))
    operator.require_floats()

    def gemm(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if alpha == beta == 1.0 and c is not None and c.dim() == 1 and len(c) == second(b).shape[1]:
            return functional.linear(first(a), second(b).T, c)
        product = first(a) @ second(b)
        product = product if alpha == 1.0 else alpha * product
        return product if c is None else product + (c if beta == 1.0 else beta * c)

    return gemm


def _turned(transposed: bool) -> Callable[[Tensor], Tensor]:
    return (lambda x: x.T) if transposed else (lambda x: x)


def _einsum(operator: Operator) -> Function:
    equation = operator.get("equation")
    return lambda *values: torch.einsum(equation, *values)


TABLE: dict[str, Builder] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": plain(torch.matmul),
}

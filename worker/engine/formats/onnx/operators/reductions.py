"""ONNX's reductions, searches and running sums as torch functions."""

from collections.abc import Callable

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator, plain

_Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(reduce: _Reduce, axes_input_since: int = 18, *, floats: bool = False) -> Builder:
    """Return the entry of a reduction whose axes are an attribute before an opset and an input from it on."""

    def build(operator: Operator) -> Function:
        if floats:
            operator.require_floats()
        keep = bool(operator.get("keepdims", 1))
        fixed = operator.get("axes")

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            told = fixed if operator.opset < axes_input_since else axes
            along = () if told is None else tuple(int(axis) for axis in told)
            if not along and not operator.get("noop_with_empty_axes", 0):
                along = tuple(range(x.dim()))
            if along or x.dim() == 0:
                return reduce(x, along, keep)
            return reduce(
                x.unsqueeze(0), (0,), False
            )  # without axes each element is reduced for itself

        return run

    return build


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _most(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.numel() == 0:
        shape = _sum(x, axes, keep).shape
        lowest = (
            False
            if x.dtype == torch.bool
            else -torch.inf
            if x.is_floating_point()
            else torch.iinfo(x.dtype).min
        )
        return torch.full(shape, lowest, dtype=x.dtype)
    return x.amax(axes, keepdim=keep)


def _least(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.numel() == 0:
        shape = _sum(x, axes, keep).shape
        highest = (
            True
            if x.dtype == torch.bool
            else torch.inf
            if x.is_floating_point()
            else torch.iinfo(x.dtype).max
        )
        return torch.full(shape, highest, dtype=x.dtype)
    return x.amin(axes, keepdim=keep)


def _extreme(operator: Operator) -> Function:
    """The position of an extreme; of equal ones the first, or the last where it is asked for."""
    axis, keep = operator.get("axis", 0), bool(operator.get("keepdims", 1))
    last = bool(operator.get("select_last_index", 0))
    find = {"ArgMax": torch.argmax, "ArgMin": torch.argmin}[operator.kind]

    def run(x: Tensor) -> Tensor:
        found = find(x.flip(axis) if last else x, dim=axis, keepdim=keep)
        return x.shape[axis] - 1 - found if last else found

    return run


def _top(operator: Operator) -> Function:
    """Sort and cut, which keeps ONNX's order of equal elements."""
    axis, largest = operator.get("axis", -1), bool(operator.get("largest", 1))
    fixed = operator.get("k")

    def run(x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = fixed if k is None else int(k)
        values, positions = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)

    return run


def _running_sum(operator: Operator) -> Function:
    exclusive, backwards = operator.get("exclusive", 0), operator.get("reverse", 0)

    def run(x: Tensor, axis: Tensor) -> Tensor:
        along = int(axis)
        y = x.flip(along) if backwards else x
        total = y.cumsum(along, dtype=x.dtype)
        total = total - y if exclusive else total
        return total.flip(along) if backwards else total

    return run


TABLE: dict[str, Builder] = {
    "ArgMax": _extreme,
    "ArgMin": _extreme,
    "CumSum": _running_sum,
    "NonZero": plain(lambda x: torch.nonzero(x).T),
    "ReduceL1": _reduction(lambda x, axes, keep: _sum(x.abs(), axes, keep)),
    "ReduceL2": _reduction(
        lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep), floats=True
    ),
    "ReduceLogSum": _reduction(lambda x, axes, keep: _sum(x, axes, keep).log(), floats=True),
    "ReduceLogSumExp": _reduction(
        lambda x, axes, keep: torch.logsumexp(x, axes, keep), floats=True
    ),
    "ReduceMax": _reduction(_most),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep), floats=True),
    "ReduceMin": _reduction(_least),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(_sum, 13),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: _sum(x * x, axes, keep)),
    "TopK": _top,
}

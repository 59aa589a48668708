"""ONNX's reductions, searches and running sums as torch functions."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    without_attributes,
)

_Axes = tuple[int, ...]
_Reduce = Callable[[Tensor, _Axes, bool], Tensor]
"""Reduces a tensor along axes, at least one; the last argument keeps them with one element."""


def _reduction(
    reduce: _Reduce, first_opset_with_axes_input: int = 18, *, floats: bool = False
) -> Builder:
    """Return the entry of a reduction, whose axes are an attribute in older opsets.

    With `floats`, other types are left to ONNX Runtime.
    """

    def build(operator: Operator) -> Function:
        if floats:
            operator.require_floats()
        keeps_axes = bool(operator.get("keepdims", 1))
        # Newer opsets ignore the attribute.
        has_attribute = operator.opset < first_opset_with_axes_input
        attribute = operator.get("axes")
        empty_is_all = not operator.get("noop_with_empty_axes", 0)

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            along = _listed(attribute if has_attribute else axes)
            rank = x.dim()
            if not along and empty_is_all:
                along = tuple(range(rank))
            if along or rank == 0:
                return reduce(x, along, keeps_axes)
            # Without axes each element is reduced alone: along an axis of one element.
            return reduce(x.unsqueeze(0), (0,), False)

        return run

    return build


def _listed(axes: Iterable[int] | Tensor | None) -> _Axes:
    """Return axes as a tuple, which is empty where there are none."""
    if axes is None:
        return ()
    return tuple(int(axis) for axis in axes)


def _l1(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the sum of magnitudes."""
    return _sum(x.abs(), axes, keep)


def _l2(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the Euclidean norm."""
    length: Tensor = torch.linalg.vector_norm(x, 2, axes, keep)
    return length


def _log_sum(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the logarithm of the sum."""
    return _sum(x, axes, keep).log()


def _log_sum_exp(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the logarithm of the sum of exponentials, without overflow."""
    return torch.logsumexp(x, axes, keep)


def _mean(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the mean."""
    return x.mean(axes, keepdim=keep)


def _sum(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the sum, in the element type of the data."""
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _sum_square(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the sum of squares."""
    return _sum(x * x, axes, keep)


def _product(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the product, in the element type of the data.

    >>> _product(torch.tensor([[1, 2], [3, 4]]), (0, 1), True).tolist()
    [[24]]
    """
    # torch multiplies along one axis at a time; the last ones first, so that positions stay.
    positions = sorted((axis % x.dim() for axis in axes), reverse=True)
    for axis in positions:
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _maximum(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the largest element; of none, the lowest number of the type.

    >>> _maximum(torch.zeros(2, 0), (1,), False).tolist()
    [-inf, -inf]
    """
    if x.numel() > 0:
        return x.amax(axes, keepdim=keep)
    return _filled(x, axes, keep, _lowest(x.dtype))


def _minimum(x: Tensor, axes: _Axes, keep: bool) -> Tensor:
    """Return the smallest element; of none, the highest number of the type."""
    if x.numel() > 0:
        return x.amin(axes, keepdim=keep)
    return _filled(x, axes, keep, _highest(x.dtype))


def _filled(x: Tensor, axes: _Axes, keep: bool, value: float) -> Tensor:
    """Return the reduction of an empty tensor, which torch refuses, with all values the same."""
    shape = _sum(x, axes, keep).shape
    return torch.full(shape, value, dtype=x.dtype)


def _lowest(dtype: torch.dtype) -> float:
    """Return the lowest number of an element type."""
    if dtype == torch.bool:
        return False
    if dtype.is_floating_point:
        return -torch.inf
    return torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    """Return the highest number of an element type."""
    if dtype == torch.bool:
        return True
    if dtype.is_floating_point:
        return torch.inf
    return torch.iinfo(dtype).max


def _extreme(operator: Operator) -> Function:
    """Return the position of an extreme; of equal ones the first, or with an attribute the last."""
    axis = operator.get("axis", 0)
    keeps_axis = bool(operator.get("keepdims", 1))
    functions = {"ArgMax": torch.argmax, "ArgMin": torch.argmin}
    find = functions[operator.kind]

    def first(x: Tensor) -> Tensor:
        position: Tensor = find(x, dim=axis, keepdim=keeps_axis)
        return position

    def last(x: Tensor) -> Tensor:
        from_end = first(x.flip(axis))
        last_position = x.shape[axis] - 1
        position: Tensor = last_position - from_end
        return position

    if operator.get("select_last_index", 0):
        return last
    return first


def _top(operator: Operator) -> Function:
    """Sort and cut, which keeps ONNX's order of equal elements."""
    axis = operator.get("axis", -1)
    descending = bool(operator.get("largest", 1))
    attribute = operator.get("k")

    def run(x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        count = attribute if k is None else int(k)
        values, positions = torch.sort(x, dim=axis, descending=descending, stable=True)
        top = values.narrow(axis, 0, count)
        top_positions = positions.narrow(axis, 0, count)
        return top, top_positions

    return run


def _running_sum(operator: Operator) -> Function:
    """Return the sums up to each element of an axis.

    With `exclusive` the element itself is left out; with `reverse` the sums begin at the end.
    """
    is_exclusive = operator.get("exclusive", 0)
    is_reversed = operator.get("reverse", 0)

    def run(x: Tensor, axis: Tensor) -> Tensor:
        along = int(axis)
        # torch sums forwards alone.
        if is_reversed:
            x = x.flip(along)
        total = x.cumsum(along, dtype=x.dtype)
        if is_exclusive:
            total = total - x
        if is_reversed:
            total = total.flip(along)
        return total

    return run


def _non_zero(x: Tensor) -> Tensor:
    """Return the coordinates of all elements that are not zero, a row an axis.

    >>> _non_zero(torch.tensor([[0, 1], [1, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    return torch.nonzero(x).T


TABLE: dict[str, Builder] = {
    "ArgMax": _extreme,
    "ArgMin": _extreme,
    "CumSum": _running_sum,
    "NonZero": without_attributes(_non_zero),
    "ReduceL1": _reduction(_l1),
    "ReduceL2": _reduction(_l2, floats=True),
    "ReduceLogSum": _reduction(_log_sum, floats=True),
    "ReduceLogSumExp": _reduction(_log_sum_exp, floats=True),
    "ReduceMax": _reduction(_maximum),
    "ReduceMean": _reduction(_mean, floats=True),
    "ReduceMin": _reduction(_minimum),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(_sum, 13),
    "ReduceSumSquare": _reduction(_sum_square),
    "TopK": _top,
}

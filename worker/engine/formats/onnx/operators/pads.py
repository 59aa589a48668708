"""ONNX's Pad as a torch function: constants, and elements repeated from the data."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator

_Pairs = Mapping[int, tuple[int, int]]
"""By axis: the elements before and after it."""


def _pad(operator: Operator) -> Function:
    """Up to opset 10 the pads are an attribute, from 11 on an input."""
    mode = operator.get("mode", "constant")

    def padded(
        x: Tensor, pads: Sequence[int], axes: Sequence[int], value: float
    ) -> Tensor:
        pairs = _pairs(x, pads, axes)
        if mode == "constant":
            return _with_constant(x, pairs, value)
        return _with_repeats(x, pairs, mode)

    if operator.opset < 11:
        pads = operator.get("pads")
        value = operator.get("value", 0.0)
        return lambda x: padded(x, pads, range(x.dim()), value)

    def pad(
        x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
    ) -> Tensor:
        along = range(x.dim()) if axes is None else axes.tolist()
        filling = 0 if value is None else value.item()
        listed = pads.tolist()
        return padded(x, listed, along, filling)

    return pad


def _pairs(x: Tensor, pads: Sequence[int], axes: Sequence[int]) -> _Pairs:
    """Return the pads by axis; ONNX lists those before all axes first, then those after.

    >>> _pairs(torch.zeros(2, 3, 4), [1, 2, 3, 4], [0, -1])
    {0: (1, 3), 2: (2, 4)}
    """
    count = len(axes)
    before = pads[:count]
    after = pads[count:]
    pairs = {}
    both_ends = zip(before, after, strict=True)
    for axis, pair in zip(axes, both_ends, strict=True):
        pairs[axis % x.dim()] = pair
    return pairs


def _with_constant(x: Tensor, pairs: _Pairs, value: float) -> Tensor:
    """Pad with one value; a negative number of elements crops.

    >>> _with_constant(torch.ones(1, 2), {1: (1, 0)}, 5.0).tolist()
    [[5.0, 1.0, 1.0]]
    """
    # torch counts axes from the last one.
    sizes: list[int] = []
    for axis in reversed(range(x.dim())):
        sizes += pairs.get(axis, (0, 0))
    return functional.pad(x, sizes, value=value)


def _with_repeats(x: Tensor, pairs: _Pairs, mode: str) -> Tensor:
    """Pad with elements of the data itself, axis by axis."""
    for axis, (before, after) in pairs.items():
        if before or after:
            size = x.shape[axis]
            positions = torch.arange(-before, size + after)
            x = x.index_select(axis, _sources(positions, size, mode))
    return x


def _sources(positions: Tensor, size: int, mode: str) -> Tensor:
    """Return the element of an axis for each position, which may be before or after it.

    >>> _sources(torch.arange(-2, 5), 3, "reflect").tolist()
    [2, 1, 0, 1, 2, 1, 0]
    >>> _sources(torch.arange(-2, 5), 3, "edge").tolist()
    [0, 0, 0, 1, 2, 2, 2]
    """
    if mode == "edge":
        return positions.clamp(0, size - 1)
    if mode == "wrap":
        return positions % size
    if size <= 1:
        return torch.zeros_like(positions)
    # Reflection: forwards and backwards again and again, without repeating the ends.
    period = 2 * (size - 1)
    offsets = positions % period
    return torch.minimum(offsets, period - offsets)


TABLE: dict[str, Builder] = {
    "Pad": _pad,
}

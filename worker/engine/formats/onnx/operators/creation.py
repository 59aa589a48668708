"""ONNX's operators that make tensors from shapes and numbers, as torch functions."""

from math import ceil

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    without_attributes,
)


def _shape(operator: Operator) -> Function:
    """From opset 15 on a part of the shape can be selected."""
    # Both count from the end where they are negative, as in Python.
    start = operator.get("start", 0)
    end = operator.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    """Return the number of elements of a tensor."""
    # ONNX's shapes and sizes are 64-bit integers.
    return torch.tensor(x.numel(), dtype=torch.int64)


def _constant_of_shape(operator: Operator) -> Function:
    """Return a tensor of a shape, filled with one value; 0 in single precision by default."""
    value = operator.get("value", torch.zeros(1))

    def fill(shape: Tensor) -> Tensor:
        return torch.full(shape.tolist(), value.item(), dtype=value.dtype)

    return fill


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Return the numbers from `start` to `limit`, without it, in steps of `delta`.

    >>> _range(torch.tensor(1), torch.tensor(8), torch.tensor(3)).tolist()
    [1, 4, 7]
    """
    span = limit.item() - start.item()
    count = ceil(span / delta.item())
    length = max(count, 0)
    steps = torch.arange(length, dtype=start.dtype)
    return start + steps * delta


TABLE: dict[str, Builder] = {
    "ConstantOfShape": _constant_of_shape,
    "Range": without_attributes(_range),
    "Shape": _shape,
    "Size": without_attributes(_size),
}

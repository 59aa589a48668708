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
    start = operator.get("start", 0)
    end = operator.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def _constant_of_shape(operator: Operator) -> Function:
    value = operator.get("value", torch.zeros(1))

    def fill(shape: Tensor) -> Tensor:
        return torch.full(shape.tolist(), value.item(), dtype=value.dtype)

    return fill


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    count = ceil((limit.item() - start.item()) / delta.item())
    steps = torch.arange(max(count, 0), dtype=start.dtype)
    return start + steps * delta


TABLE: dict[str, Builder] = {
    "ConstantOfShape": _constant_of_shape,
    "Range": without_attributes(_range),
    "Shape": _shape,
    "Size": without_attributes(_size),
}

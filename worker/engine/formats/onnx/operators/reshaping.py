"""ONNX's operators that change a tensor's axes, join or cut tensors, as torch functions."""

from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    without_attributes,
)


def _reshape(operator: Operator) -> Function:
    """A size of 0 stands for the input's, unless `allowzero` is set."""
    allows_zero = operator.get("allowzero", 0)

    def reshape(x: Tensor, shape: Tensor) -> Tensor:
        sizes = shape.tolist()
        if not allows_zero:
            # A size of -1 follows from the others, as in torch.
            for axis, size in enumerate(sizes):
                if size == 0:
                    sizes[axis] = x.shape[axis]
        return x.reshape(sizes)

    return reshape


def _flatten(operator: Operator) -> Function:
    """Make a matrix: the axes before `axis` are its rows, all others its columns."""
    axis = operator.get("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        rows = prod(x.shape[:axis])
        columns = prod(x.shape[axis:])
        return x.reshape(rows, columns)

    return flatten


def _transpose(operator: Operator) -> Function:
    """Without `perm` the order of the axes is reversed."""
    order = operator.get("perm")

    def transpose(x: Tensor) -> Tensor:
        backwards = range(x.dim() - 1, -1, -1)
        return x.permute(tuple(order or backwards))

    return transpose


def _concat(operator: Operator) -> Function:
    """Join tensors along an axis."""
    axis = operator.get("axis", 1)
    return lambda *values: torch.cat(values, axis)


def _split(operator: Operator) -> Function:
    """Up to opset 12 the sizes are an attribute, from 13 on an input.

    Without sizes, all parts are equal but the last ones.
    """
    axis = operator.get("axis", 0)
    attribute = operator.get("split")

    def split(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = attribute if sizes is None else sizes.tolist()
        # Newer opsets state the number of parts; the node's outputs tell it too.
        if parts is None:
            length = x.shape[axis]
            parts = _equal_parts(length, operator.outputs)
        return torch.split(x, list(parts), axis)

    return split


def _equal_parts(length: int, count: int) -> list[int]:
    """Return the sizes of `count` parts of a length.

    >>> _equal_parts(5, 2), _equal_parts(4, 3)
    ([3, 2], [2, 2, 0])
    """
    largest = ceil(length / count)
    parts = []
    for number in range(count):
        remaining = length - largest * number
        parts.append(max(min(largest, remaining), 0))
    return parts


def _squeeze(operator: Operator) -> Function:
    """Up to opset 12 the axes are an attribute, from 13 on an input; without, all of size 1."""
    attribute = operator.get("axes")

    def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = attribute if axes is None else axes.tolist()
        if along is None:
            return x.squeeze()
        return x.squeeze(tuple(along))

    return squeeze


def _unsqueeze(operator: Operator) -> Function:
    """Up to opset 12 the axes are an attribute, from 13 on an input."""
    attribute = operator.get("axes")

    def unsqueeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = attribute if axes is None else axes.reshape(-1).tolist()
        rank = x.dim() + len(along)
        sizes = list(x.shape)
        # From the first axis on, so that each one is at its place in the result.
        positions = sorted(axis % rank for axis in along)
        for axis in positions:
            sizes.insert(axis, 1)
        return x.reshape(sizes)

    return unsqueeze


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast in both directions: a size of 1 in the shape keeps the input's.

    >>> _expand(torch.ones(3, 1), torch.tensor([2, 1, 4])).shape
    torch.Size([2, 3, 4])
    >>> _expand(torch.ones(2, 3), torch.tensor([1])).shape
    torch.Size([2, 3])
    """
    sizes = shape.tolist()
    # A shorter shape has axes of size 1 before its first one.
    missing = x.dim() - len(sizes)
    sizes = [1] * missing + sizes
    # Axes are aligned at their ends.
    first_own = len(sizes) - x.dim()
    for axis, size in enumerate(x.shape, start=first_own):
        if sizes[axis] == 1:
            sizes[axis] = size
    return x.expand(sizes)


def _depth_to_space(operator: Operator) -> Function:
    """Move channels into blocks of `blocksize` by `blocksize` positions.

    The mode says whether the channels of a block come first (DCR) or last (CRD).
    """
    block = operator.get("blocksize")
    columns_first = operator.get("mode", "DCR") == "CRD"

    def rearrange(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        depth = channels // block**2
        if columns_first:
            y = x.reshape(batch, depth, block, block, height, width)
            y = y.permute(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(batch, block, block, depth, height, width)
            y = y.permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, depth, height * block, width * block)

    return rearrange


def _space_to_depth(operator: Operator) -> Function:
    """Move blocks of positions into channels: the inverse of DepthToSpace."""
    block = operator.get("blocksize")
    # Opsets 1 and 13 have one order alone; later ones name it as DepthToSpace does.
    order = (0, 3, 5, 1, 2, 4)
    if operator.get("mode", "DCR") == "CRD":
        order = (0, 1, 3, 5, 2, 4)

    def rearrange(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = height // block
        columns = width // block
        y = x.reshape(batch, channels, rows, block, columns, block)
        y = y.permute(order)
        depth = channels * block**2
        return y.reshape(batch, depth, rows, columns)

    return rearrange


def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    """Repeat a tensor along each axis.

    >>> _tile(torch.tensor([1, 2]), torch.tensor([2])).tolist()
    [1, 2, 1, 2]
    """
    return x.repeat(repeats.tolist())


def _dropout(operator: Operator) -> Function:
    """Return the data in inference; training is left to ONNX Runtime.

    So is a training mode that is not known before the model runs.
    """
    training = operator.constant(2)
    is_inference = training is not None and not training
    is_complete = not operator.has_input(2) or is_inference
    operator.require(is_complete)
    # Before opset 10 the mask has the type of the data.
    mask_is_bool = operator.used_outputs == 1 or operator.opset >= 10
    operator.require(mask_is_bool)
    if operator.used_outputs == 1:
        return lambda x, *_: x
    return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))


def _identity(x: Any) -> Any:  # noqa: ANN401 - a tensor, or a list of them
    """Return the value as it is."""
    return x


TABLE: dict[str, Builder] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Dropout": _dropout,
    "Expand": without_attributes(_expand),
    "Flatten": _flatten,
    "Identity": without_attributes(_identity),
    "Reshape": _reshape,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": without_attributes(_tile),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

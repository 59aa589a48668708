"""ONNX's operators that select or write elements by their positions, as torch functions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator


def _slice(operator: Operator) -> Function:
    """Up to opset 9 the bounds are attributes, from 10 on inputs."""
    if operator.opset < 10:
        starts = operator.get("starts")
        ends = operator.get("ends")
        ones = [1] * len(starts)
        axes = operator.get("axes") or range(len(starts))
        return lambda x: _cut(x, starts, ends, axes, ones)
    return _slice_by_inputs


def _slice_by_inputs(
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Slice by inputs; without axes the first ones are cut, without steps every element is kept."""
    count = len(starts)
    along = range(count) if axes is None else axes.tolist()
    strides = [1] * count if steps is None else steps.tolist()
    return _cut(x, starts.tolist(), ends.tolist(), along, strides)


def _cut(
    x: Tensor,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int],
) -> Tensor:
    """Return elements of some axes: from start to end, without it, with a step that is not 0.

    >>> _cut(torch.arange(6), starts=[4], ends=[0], axes=[0], steps=[-2]).tolist()
    [4, 2]
    """
    index = [slice(None)] * x.dim()
    flipped = []
    cuts = zip(starts, ends, axes, steps, strict=True)
    for start, end, axis, step in cuts:
        all_positions = range(x.shape[axis])
        positions = all_positions[start:end:step]
        # torch takes no negative steps: select forwards, then flip.
        if step < 0:
            flipped.append(axis)
            positions = positions[::-1]
        # An empty range may end before its start, which a slice must not.
        stop = max(positions.stop, positions.start)
        index[axis] = slice(positions.start, stop, positions.step)
    y = x[tuple(index)]
    return y.flip(flipped) if flipped else y


def _from_start(indices: Tensor, size: int) -> Tensor:
    """Return indices of an axis, with negative ones counted from its end.

    >>> _from_start(torch.tensor([0, -1]), 5).tolist()
    [0, 4]
    """
    return torch.where(indices < 0, indices + size, indices).long()


def _gather(operator: Operator) -> Function:
    """Select slices along an axis; the axes of the indices replace it."""
    axis = operator.get("axis", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        # The axis is counted from the first one: indices may have more axes than the data.
        along = axis % x.dim()
        length = x.shape[along]
        positions = _from_start(indices, length)
        flat = positions.reshape(-1)
        y = x.index_select(along, flat)
        before = x.shape[:along]
        after = x.shape[along + 1 :]
        return y.reshape((*before, *indices.shape, *after))

    return gather


def _gather_elements(operator: Operator) -> Function:
    """Select an element along an axis for each of the indices."""
    axis = operator.get("axis", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        return torch.gather(x, axis, _from_start(indices, x.shape[axis]))

    return gather


def _gather_nd(operator: Operator) -> Function:
    """Select by the coordinates along the last axis of the indices, in each batch alone."""
    batch_axes = operator.get("batch_dims", 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        axes = indices.dim() - 1
        batches = []
        for own in range(batch_axes):
            # The positions of one batch axis, shaped to be broadcast over all others.
            shape = [1] * axes
            shape[own] = -1
            positions = torch.arange(x.shape[own])
            batches.append(positions.reshape(shape))
        coordinates = indices.long().unbind(-1)
        return x[(*batches, *coordinates)]

    return gather


def _scatter_elements(operator: Operator) -> Function:
    """Write an element along an axis for each of the indices.

    Reductions of elements that are written to one place are left to ONNX Runtime.
    """
    reduction = operator.get("reduction", "none")
    operator.require(reduction == "none")
    axis = operator.get("axis", 0)

    def scatter(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        length = x.shape[axis]
        positions = _from_start(indices, length)
        return x.scatter(axis, positions, updates)

    return scatter


def _scatter_nd(operator: Operator) -> Function:
    """Write slices at the coordinates along the last axis of the indices."""
    operator.require(operator.get("reduction", "none") == "none")

    def scatter(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        coordinates = indices.long().unbind(-1)
        return x.index_put(coordinates, updates)

    return scatter


def _triangle(operator: Operator) -> Function:
    """Keep the upper or lower triangle of matrices, from diagonal `k` on, and set the rest to 0."""
    keep = torch.triu if operator.get("upper", 1) else torch.tril

    def triangle(x: Tensor, k: Tensor | None = None) -> Tensor:
        diagonal = 0 if k is None else int(k)
        return keep(x, diagonal)

    return triangle


TABLE: dict[str, Builder] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Trilu": _triangle,
}

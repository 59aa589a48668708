"""Run a node that writes on a copy of the memory, so that no step changes its inputs."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from worker.engine.formats.aten.nested_values import map_tensors, tensors_in
from worker.engine.program import NoProgramError

NodeCall = Callable[..., tuple[Any, ...]]
"""Computes a node's outputs from the values that it captures."""


def on_copies(
    call: NodeCall, takes: int, targets: Sequence[int], changed: Sequence[int]
) -> NodeCall:
    """Return a call on copies of the memory of the values at the positions `targets`.

    The inner call takes the first `takes` values. After its results come the values at the
    positions `changed`, those in copied memory as they now are in the copy.

    Raises:
        NoProgramError: when it is called on values whose memory cannot be copied as a whole.
    """

    def run(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        written = [values[position] for position in targets]
        copies = _with_copied_memory(values, written)
        results = call(*copies[:takes])
        contents = [copies[position] for position in changed]
        return (*results, *contents)

    return run


def memory_of(tensor: Tensor) -> int:
    """Return a number that identifies the memory of a tensor; views share it."""
    return int(tensor.untyped_storage()._cdata)


def _with_copied_memory(values: Sequence[Any], targets: Sequence[Any]) -> list[Any]:
    """Return the values with the targets' memory copied; views of it are views of the copies."""
    views: dict[int, list[Tensor]] = {}
    for tensor in tensors_in(targets):
        views[memory_of(tensor)] = []
    for tensor in tensors_in(values):
        memory = memory_of(tensor)
        if memory in views:
            views[memory].append(tensor)
    # The largest view is copied: it has to cover the others.
    named_views = views.items()
    largest = {
        memory: max(tensors, key=Tensor.numel) for memory, tensors in named_views
    }
    named_largest = largest.items()
    copies = {memory: tensor.clone() for memory, tensor in named_largest}

    def moved(tensor: Tensor) -> Tensor:
        memory = memory_of(tensor)
        if memory not in copies:
            return tensor
        original = largest[memory]
        copy = copies[memory]
        return _view_of_copy(tensor, original, copy)

    return [map_tensors(value, moved) for value in values]


def _view_of_copy(tensor: Tensor, original: Tensor, copy: Tensor) -> Tensor:
    """Return the part of `copy` that corresponds to the part of `original` that a tensor views."""
    shape = tensor.shape
    strides = tensor.stride()
    offset = int(tensor.storage_offset() - original.storage_offset())
    layout = (shape, strides, offset)
    whole = (original.shape, original.stride(), 0)
    if layout == whole:
        return copy
    last = offset
    pairs = zip(shape, strides, strict=True)
    for size, stride in pairs:
        last += (size - 1) * stride
    is_inside = offset >= 0 and last < original.numel()
    is_alike = tensor.dtype == original.dtype and copy.stride() == original.stride()
    # An empty view reads nothing, wherever it lies.
    if tensor.numel() and not (is_alike and is_inside):
        raise NoProgramError(
            "it writes into memory that several tensors share in a way that cannot be followed"
        )
    first = max(offset, 0)
    return copy.as_strided(shape, strides, first)

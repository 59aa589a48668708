"""Batches turned back into the arrays that a caller of the model passes."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.calibration.replay import Batch
from worker.engine.model import TensorSpec

RunInputs = dict[str, NDArray[np.generic]]
"""The arrays of one run, by input name."""


def run_inputs(
    batches: Sequence[Batch],
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    most: int,
) -> list[RunInputs]:
    """Return the inputs of at most `most` runs, in these shapes and the inputs' types."""
    axes = {spec.name: spec.axes(shapes[spec.name]) for spec in specs}
    inputs: list[RunInputs] = []
    for batch in batches:
        inputs += [_run(batch, specs, axes, at) for at in range(_runs(batch, axes))]
    return inputs[:most]


def _run(
    batch: Batch, specs: Sequence[TensorSpec], axes: Mapping[str, tuple[int, ...]], at: int
) -> RunInputs:
    return {spec.name: _part(batch[spec.name], axes[spec.name], at, spec) for spec in specs}


def _runs(batch: Batch, axes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many runs of the model a batch has images for."""
    return max(len(batch[name]) // max(shape[0], 1) for name, shape in axes.items() if shape)


def _part(tensor: Tensor, shape: tuple[int, ...], at: int, spec: TensorSpec) -> NDArray[np.generic]:
    """Return one run's part of an input.

    Images smaller than the shape are repeated side by side until they fill it.
    """
    if not shape:
        return np.asarray(tensor.numpy(force=True), spec.dtype)
    size = shape[0]
    part = tensor if tensor.shape == shape else tensor[at * size : (at + 1) * size]
    repeats = [_repeats(length, own) for length, own in zip(shape, part.shape, strict=True)]
    return np.tile(part.numpy(force=True), repeats).astype(spec.dtype)


def _repeats(length: int, own: int) -> int:
    return length // own if own else 1

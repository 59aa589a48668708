"""Batches turned back into the arrays that a caller of the model passes."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from worker.engine.calibration.inputs.model_inputs import AnyArray, Shapes, Specs
from worker.engine.calibration.replay import Batch
from worker.engine.model import TensorSpec

RunInputs = dict[str, AnyArray]
"""The arrays of one run, by input name."""


def run_inputs(
    batches: Sequence[Batch],
    specs: Specs,
    shapes: Shapes,
    most: int,
) -> list[RunInputs]:
    """Return the inputs of at most `most` runs, in these shapes and the inputs' types.

    >>> from torch import zeros
    >>> image = TensorSpec("x", "float16", None)
    >>> inputs = run_inputs([{"x": zeros(6, 3)}], [image], {"x": (2, 3)}, most=9)
    >>> len(inputs), inputs[0]["x"].shape
    (3, (2, 3))
    """
    axes = {spec.name: spec.axes(shapes[spec.name]) for spec in specs}
    inputs: list[RunInputs] = []
    for batch in batches:
        inputs += [_run(batch, specs, axes, at) for at in range(_runs(batch, axes))]
    return inputs[:most]


def _run(batch: Batch, specs: Specs, axes: Shapes, at: int) -> RunInputs:
    """Return the inputs of the run at a position within a batch."""
    inputs = {}
    for spec in specs:
        name = spec.name
        inputs[name] = _part(batch[name], axes[name], at, spec)
    return inputs


def _runs(batch: Batch, axes: Shapes) -> int:
    """Return the number of runs of the model that a batch has images for."""
    runs = []
    for name, shape in axes.items():
        # Inputs without axes are the same in every run.
        if shape:
            runs.append(len(batch[name]) // max(shape[0], 1))
    return max(runs)


def _part(
    tensor: Tensor, shape: tuple[int, ...], at: int, spec: TensorSpec
) -> AnyArray:
    """Return one run's part of an input.

    Images smaller than the shape are repeated side by side until they fill it.
    """
    if not shape:
        array = tensor.numpy(force=True)
        return np.asarray(array, spec.dtype)
    part = tensor
    if tensor.shape != shape:
        length_of_run = shape[0]
        start = at * length_of_run
        part = tensor[start : start + length_of_run]
    pairs = zip(shape, part.shape, strict=True)
    repeats = [_repeats(length, own) for length, own in pairs]
    part_array = part.numpy(force=True)
    tiled = np.tile(part_array, repeats)
    return tiled.astype(spec.dtype)


def _repeats(length: int, own: int) -> int:
    """Return the number of repetitions of an axis; an empty axis stays empty."""
    return length // own if own else 1

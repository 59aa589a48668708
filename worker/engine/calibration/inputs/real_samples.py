"""Real samples as batches: cut to size, split for fitting and judging, and checked."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.model_inputs import Arrays, ImageInput, make_inputs
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.replay import Batch
from worker.engine.program import run

_FEWEST_TO_SPLIT = 20
"""A fifth of fewer samples is too few to judge by."""


def value_limits(images: NDArray[np.generic]) -> InputValues:
    """Return the least and the greatest value as the range of all images."""
    low = float(images.min())
    high = float(images.max())
    if high <= low:
        high = low + max(1.0, abs(low))
    return InputValues((low, high), None, None)


def split_samples(samples: Arrays, harness: Harness) -> tuple[Arrays, Arrays | None]:
    """Return the samples to fit on, and the last fifth to judge by; None where there are too few."""
    names = harness.image_names
    count = len(samples[names[0]])
    fifth = count // 5
    if count < _FEWEST_TO_SPLIT or fifth < max(harness.shapes[name][0] for name in names):
        return samples, None
    fitted = dict(samples)
    judging = dict(samples)
    for name in names:
        fitted[name] = samples[name][: count - fifth]
        judging[name] = samples[name][count - fifth :]
    return fitted, judging


def real_batches(harness: Harness, samples: Arrays, most: int) -> list[Batch]:
    """Cut real samples into batches of one size.

    Images larger than those that the program is run at are cut into pieces of that size. Of more
    than `most` samples, as many are taken evenly from first to last. Inputs that the samples lack
    are made up.
    """
    pieces = {images.name: _pieces(samples[images.name], images) for images in harness.images}
    count = min(map(len, pieces.values()))
    fixed = harness.fixed_batch
    used = max(fixed, min(count, most) // fixed * fixed)
    chosen = np.linspace(0, count - 1, used).astype(np.int64)
    batch = _fullest_batch(used, min(harness.batch, used), fixed)
    other = make_inputs(harness.specs, harness.shapes, batch, dead_leaves, known_ranges(1)[0], 0)
    images = {name: array[chosen] for name, array in pieces.items()}
    return replace(harness, batch=batch).batches({**other, **samples, **images})


def _fullest_batch(count: int, largest: int, fixed: int) -> int:
    """Return the batch size that leaves out fewest of `count` samples, the largest of several.

    It is a multiple of the fixed batch and at least half as large as it may be.
    """
    least = max(fixed, largest // 2)
    sizes = range(largest // fixed * fixed, least - 1, -fixed)
    return max(sizes, key=lambda size: count // size * size)


def _pieces(array: NDArray[np.generic], images: ImageInput) -> NDArray[np.generic]:
    """Cut images into as many of the input's size as fit: all first pieces, then all second ones."""
    first = 1 if images.channels_last else 2
    size = images.size
    whole = array.shape[first : first + len(size)]
    if whole == size:
        return array
    before = (slice(None),) * first
    starts = [range(0, a - b + 1, b) for a, b in zip(whole, size, strict=True)]
    pieces = []
    for corner in product(*starts):
        window = map(slice, corner, np.add(corner, size))
        pieces.append(array[(*before, *window)])
    return np.concatenate(pieces)


@torch.no_grad()
def require_finite(harness: Harness, batches: Sequence[Batch]) -> None:
    """Refuse samples on which the model gives NaN or infinity.

    Raises:
        Refusal: `samples_invalid`.
    """
    for batch in batches:
        outputs = run(harness.program, batch)
        tensors = [output for output in outputs if isinstance(output, Tensor)]
        if not all(bool(output.isfinite().all()) for output in tensors):
            raise Refusal(
                Code.SAMPLES_INVALID,
                "the model gives NaN or infinity on the samples",
                field="samples",
                expected="samples like those that the model was trained on",
                got="outputs that are not finite",
            )

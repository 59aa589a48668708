"""Real samples as batches: cut to size, split for fitting and judging, and checked."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.model_inputs import (
    AnyArray,
    Arrays,
    ImageInput,
    make_inputs,
)
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.replay import Batch
from worker.engine.program import run

# A fifth is held out: of fewer samples, none.
_FEWEST_TO_SPLIT = 5


def value_limits(images: AnyArray) -> InputValues:
    """Return the least and the greatest value as the range of all images.

    >>> value_limits(np.array([[3.0, -1.0], [0.0, 2.0]])).limits
    (-1.0, 3.0)
    >>> value_limits(np.zeros((2, 2))).limits
    (0.0, 1.0)
    """
    low = float(images.min())
    high = float(images.max())
    # A range of width 0 would divide by 0.
    if high <= low:
        high = low + max(1.0, abs(low))
    return InputValues((low, high), None, None)


def split_samples(samples: Arrays, harness: Harness) -> tuple[Arrays, Arrays | None]:
    """Return the samples to fit on, and the last fifth to judge by; None of fewer than five.

    A run of the model needs a whole batch: a fifth that does not fill one is not split off.
    """
    names = harness.image_names
    count = len(samples[names[0]])
    fifth = count // 5
    if count < _FEWEST_TO_SPLIT or fifth < harness.fixed_batch:
        return samples, None
    fitted = dict(samples)
    judging = dict(samples)
    for name in names:
        array = samples[name]
        fitted[name] = array[:-fifth]
        judging[name] = array[-fifth:]
    return fitted, judging


def real_batches(harness: Harness, samples: Arrays, most: int) -> list[Batch]:
    """Cut real samples into batches of one size.

    Images larger than those that the program is run at are cut into pieces of that size. Of more
    than `most` samples, an even choice from first to last is used. Inputs that the samples lack
    get synthetic values.
    """
    pieces = {
        images.name: _pieces(samples[images.name], images) for images in harness.images
    }
    counts = map(len, pieces.values())
    count = min(counts)
    fixed = harness.fixed_batch
    whole_batches = min(count, most) // fixed * fixed
    used = max(fixed, whole_batches)
    evenly = np.linspace(0, count - 1, used)
    chosen = evenly.astype(np.int64)
    images = {name: array[chosen] for name, array in pieces.items()}
    largest = min(harness.batch, used)
    batch = _fullest_batch(used, largest, fixed)
    resized = replace(harness, batch=batch)
    synthetic = _synthetic(resized)
    return resized.batches({**synthetic, **samples, **images})


def _synthetic(harness: Harness) -> Arrays:
    """Return one batch of synthetic inputs, for those that samples lack."""
    values = known_ranges(1)[0]
    return make_inputs(
        harness.specs, harness.shapes, harness.batch, dead_leaves, values, 0
    )


def _fullest_batch(count: int, largest: int, fixed: int) -> int:
    """Return the batch size that leaves out fewest of `count` samples, the largest of several.

    It is a multiple of the fixed batch and at least half as large as it may be.

    >>> _fullest_batch(70, largest=32, fixed=1)
    23
    >>> _fullest_batch(70, largest=32, fixed=5)
    30
    """
    least = max(fixed, largest // 2)
    most = largest // fixed * fixed
    sizes = range(most, least - 1, -fixed)

    def filled(size: int) -> int:
        """Return the number of samples that fill whole batches."""
        return count // size * size

    return max(sizes, key=filled)


def _pieces(array: AnyArray, images: ImageInput) -> AnyArray:
    """Cut images into pieces of the input's size: all first pieces, then all second ones."""
    first = 1 if images.channels_last else 2
    size = images.size
    whole = array.shape[first : first + len(size)]
    if whole == size:
        return array
    before = (slice(None),) * first
    starts = []
    pairs = zip(whole, size, strict=True)
    for length, own in pairs:
        last = length - own
        starts.append(range(0, last + 1, own))
    pieces = []
    for corner in product(*starts):
        end = np.add(corner, size)
        window = map(slice, corner, end)
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
        are_finite = [bool(output.isfinite().all()) for output in tensors]
        if not all(are_finite):
            raise Refusal(
                Code.SAMPLES_INVALID,
                "the model gives NaN or infinity on the samples",
                field="samples",
                expected="samples like those that the model was trained on",
                got="outputs that are not finite",
            )

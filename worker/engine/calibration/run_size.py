"""Find by trial the image size and the batch size at which a program is best run."""

from dataclasses import replace

import torch
from torch import Tensor

from worker.engine.calibration.effort import Effort
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.model_inputs import (
    ImageInput,
    Shapes,
    Specs,
    image_inputs,
)
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.replay import Batch, measure_footprints
from worker.engine.program import Program, StepError, run

# Of the largest output: kernels for other batch sizes sum in another order.
_TOLERANCE = 1e-3
# Sizes show in any range; a strict one keeps models that take roots from giving NaN.
_ANY_RANGE = replace(known_ranges(1)[0], strict=True)


def build_harness(
    program: Program, specs: Specs, shapes: Shapes, effort: Effort
) -> Harness:
    """Return the program with the sizes at which it is best run.

    1. Where a smaller image gives proportionally smaller outputs, as in networks without a head,
       images of at most `longest_side` a side are as good and far cheaper.
    2. Where images that run together give what each gives alone, as many run together as
       `batch_images` and `batch_bytes` allow.

    Raises:
        StepError: the program does not run.
    """
    harness = _at_size(program, specs, shapes)
    harness = _smaller(harness, effort.longest_side) or harness
    harness = replace(harness, restores=_restores(harness))
    batch = _largest_batch(harness, effort)
    if harness.images and batch > harness.batch and _runs_together(harness):
        return replace(harness, batch=batch)
    return harness


def _at_size(program: Program, specs: Specs, shapes: Shapes) -> Harness:
    """Return the program at these shapes, with the batch that they fix and its measured memory.

    Raises:
        StepError: the program does not run.
    """
    inputs = image_inputs(specs, shapes)
    images = tuple(inputs.values())
    bare = Harness(program, tuple(specs), shapes, images, batch=1, sample_bytes=0)
    harness = replace(bare, batch=bare.fixed_batch)
    with torch.no_grad():
        batch = _any_batch(harness)
        footprints = measure_footprints(program, batch)
    running = [bytes_running for _, bytes_running in footprints]
    peak = max(running, default=0)
    return replace(harness, sample_bytes=peak // harness.batch)


def _largest_batch(harness: Harness, effort: Effort) -> int:
    """Return the largest multiple of the fixed batch within the effort's limits."""
    fixed = harness.batch
    in_memory = effort.batch_bytes // max(harness.sample_bytes, 1)
    largest = min(effort.batch_images, in_memory)
    return max(fixed, largest // fixed * fixed)


@torch.no_grad()
def _restores(harness: Harness) -> bool:
    """Whether the only output has the shape of the only image input."""
    batch = _any_batch(harness)
    names = harness.image_names
    outputs = run(harness.program, batch)
    if len(names) != 1 or len(outputs) != 1:
        return False
    image = batch[names[0]]
    return getattr(outputs[0], "shape", None) == image.shape


def _any_batch(harness: Harness) -> Batch:
    """Return one batch of images to try a size on."""
    return harness.synthetic(dead_leaves, _ANY_RANGE, harness.batch, 0)[0]


@torch.no_grad()
def _runs_together(harness: Harness) -> bool:
    """Whether two batches stacked give what each of them gives."""
    count = 2 * harness.batch
    first, second = harness.synthetic(dead_leaves, _ANY_RANGE, count, 0)
    both = dict(first)
    for name in harness.image_names:
        own = first[name]
        next_images = second[name]
        both[name] = torch.cat([own, next_images])
    try:
        together = run(harness.program, both)
    except StepError:
        return False  # the model fixes its batch size
    alone = run(harness.program, first)
    other = run(harness.program, second)
    outputs = zip(together, alone, other, strict=True)
    return all(_is_concatenation(*each) for each in outputs)


def _is_concatenation(whole: object, first: object, second: object) -> bool:
    """Whether an output is that of two batches, one after the other."""
    if not isinstance(whole, Tensor):
        return False
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return False
    if whole.dim() == 0:
        return False
    both = len(first) + len(second)
    if len(whole) != both:
        return False
    if whole.shape[1:] != first.shape[1:]:
        return False
    if not whole.is_floating_point() or not whole.numel():
        return True
    expected = torch.cat([first, second])
    error = (whole - expected).abs()
    difference = error.max()
    largest = expected.abs().max()
    # Outputs that are all 0 are the same.
    tiny = torch.finfo(whole.dtype).tiny
    return bool(difference <= _TOLERANCE * largest + tiny)


@torch.no_grad()
def _smaller(harness: Harness, longest: int) -> Harness | None:
    """Return the harness at a smaller image size; None unless its outputs shrink in proportion."""
    if len(harness.images) != 1:
        return None
    images = harness.images[0]
    largest = max(images.size, default=0)
    if largest <= longest:
        return None
    # The smallest divisor that gives at most `longest`.
    divisor = -(-max(images.size) // longest)
    # Parts of a pixel would change the outputs' proportions.
    if any(side % divisor for side in images.size):
        return None
    shape = _divided_shape(images, harness.batch, divisor)
    try:
        shapes = {**harness.shapes, images.name: shape}
        smaller = _at_size(harness.program, harness.specs, shapes)
        batch = _any_batch(smaller)
        outputs = run(smaller.program, batch)
    except StepError:
        return None  # the model fixes its image size
    ratio = divisor ** len(images.size)
    original_batch = _any_batch(harness)
    originals = run(harness.program, original_batch)
    pairs = zip(originals, outputs, strict=True)
    for original, output in pairs:
        if not _is_smaller(original, output, ratio):
            return None
    return smaller


def _divided_shape(images: ImageInput, batch: int, divisor: int) -> tuple[int, ...]:
    """Return the input's shape with every side divided."""
    size = tuple(side // divisor for side in images.size)
    if images.channels_last:
        return (batch, *size, images.channels)
    return (batch, images.channels, *size)


def _is_smaller(original: object, output: object, ratio: int) -> bool:
    """Whether an output has this many times fewer numbers than the original's."""
    if not isinstance(original, Tensor) or not isinstance(output, Tensor):
        return False
    return original.numel() == ratio * output.numel()

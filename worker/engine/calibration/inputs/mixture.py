"""Synthetic images from several value ranges."""

from collections.abc import Sequence

from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.generators import Generator
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.replay import Batch

# Between the seeds of two ranges, so that they get different images.
_SEED_STEP = 100


def from_all_ranges(
    harness: Harness,
    generator: Generator,
    ranges: Sequence[ValueRange],
    count: int,
    seed: int,
) -> list[Batch]:
    """Return batches of at least `count` images, an equal part of them from every range."""
    in_each = -(-count // len(ranges))
    batches: list[Batch] = []
    for at, values in enumerate(ranges):
        batches += harness.synthetic(generator, values, in_each, seed + _SEED_STEP * at)
    return batches

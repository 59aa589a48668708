"""The images to fit on, of each kind: real, distilled or plain, with the moments on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.convergence import measure_until_converged
from worker.engine.calibration.inputs.distiller import Distiller, Tell
from worker.engine.calibration.inputs.generators import Generator
from worker.engine.calibration.inputs.mixture import from_all_ranges
from worker.engine.calibration.inputs.model_inputs import Arrays
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.real_samples import (
    real_batches,
    require_finite,
    split_samples,
)
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.statistics.covariance import (
    Geometries,
    MeasuredMoments,
    measure_moments,
)

_DISTILLED_SEED = 0
# The seeds 1 to 3 make the held-out images and those that ranges are tried on.
_PLAIN_SEED = 4


@dataclass(frozen=True)
class FittingImages:
    """Batches to fit on, the moments on them, and their description for the report.

    `held_out` are real samples to judge by, empty where there are none.
    """

    batches: list[Batch]
    moments: MeasuredMoments
    report_members: Mapping[str, Any]
    held_out: list[Batch] = field(default_factory=list)


def real(
    allowance: Allowance, samples: Arrays, convolutions: Geometries
) -> FittingImages:
    """Return real samples, the last fifth of them held out where there are at least five.

    Raises:
        Refusal: `samples_invalid` where the model gives NaN or infinity on them.
    """
    harness = allowance.harness
    fitted, judging = split_samples(samples, harness)
    most = allowance.measured_images
    batches = real_batches(harness, fitted, most)
    held_out = real_batches(harness, judging, most) if judging is not None else []
    require_finite(harness, [*batches, *held_out])
    moments = measure_moments(harness.program, batches, convolutions, allowance.effort)
    name = harness.image_names[0]
    report_members = {
        "kind": "samples",
        "images": sum(len(batch[name]) for batch in batches),
        "held_out_samples": sum(len(batch[name]) for batch in held_out),
    }
    return FittingImages(
        batches, MeasuredMoments(moments, {}), report_members, held_out
    )


def distilled(
    allowance: Allowance,
    generator: Generator,
    ranges: Sequence[ValueRange],
    convolutions: Geometries,
    distiller: Distiller,
    steps: int,
) -> FittingImages:
    """Return generated images distilled by `steps`, and plain ones where those are too few.

    Raises:
        DistillingError: the images cannot be distilled.
    """
    harness = allowance.harness
    count = allowance.distilled_images(steps)
    images = from_all_ranges(harness, generator, ranges, count, _DISTILLED_SEED)
    batches = distiller.distil(images, steps, _DISTILLED_SEED)
    number = len(batches) * harness.batch
    more = allowance.plain_images(number)
    if more:
        batches += from_all_ranges(harness, generator, ranges, more, _PLAIN_SEED)
    moments = measure_moments(harness.program, batches, convolutions, allowance.effort)
    report_members = {
        "kind": "distilled",
        "images": len(batches) * harness.batch,
        "distilled": number,
        "steps": steps,
    }
    return FittingImages(batches, MeasuredMoments(moments, {}), report_members)


def plain(
    allowance: Allowance,
    generator: Generator,
    ranges: Sequence[ValueRange],
    convolutions: Geometries,
    tell: Tell,
) -> FittingImages:
    """Return generated images as they are, as many as the covariances need to converge."""
    batches, moments = measure_until_converged(
        allowance, generator, ranges, convolutions, tell
    )
    report_members = {
        "kind": "synthetic",
        "images": len(batches) * allowance.harness.batch,
        "twin": bool(moments.batchnorm),
    }
    return FittingImages(batches, moments, report_members)

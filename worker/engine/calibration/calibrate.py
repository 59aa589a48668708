"""Calibrate a model: inputs like real ones, and every site's moments on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convpress.calibration import InputValues
from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.fitting_images import FittingImages, distilled, plain, real
from worker.engine.calibration.harness import Harness, WeakCalibrationError
from worker.engine.calibration.inputs.distil import DistillingError
from worker.engine.calibration.inputs.distiller import Distiller
from worker.engine.calibration.inputs.distiller import Tell as Tell
from worker.engine.calibration.inputs.mixture import from_all_ranges
from worker.engine.calibration.inputs.model_inputs import Arrays, Shapes
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.probing import probed_ranges
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.real_samples import value_limits
from worker.engine.calibration.inputs.run_inputs import run_inputs
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.run_size import build_harness
from worker.engine.calibration.statistics.covariance import Geometries, MeasuredMoments
from worker.engine.model import Model, TensorSpec
from worker.engine.program import NoProgramError, Program, StepError

_HELD_OUT_SEED = 1
_FRESH_SEED = 2
# Unmeasured sites that a note names.
_MOST_NAMED = 8


@dataclass(frozen=True)
class Calibration:
    """What a calibration learned: a program, inputs to fit on and to judge by, and moments.

    Nothing is fitted on `held_out` and `fresh`, which come from another generator and other seeds.
    The `moments` are those on `batches`. `sample_macs` is the cost of one image and `batch` the
    number of images that run together. `report_members` describe the calibration in the report;
    their `notes` give reasons for which it is weaker than it might be.
    """

    program: Program
    batches: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    fresh: tuple[Batch, ...]
    moments: MeasuredMoments
    sample_macs: int
    batch: int
    report_members: Mapping[str, Any]

    def fresh_inputs(
        self, specs: Sequence[TensorSpec], shapes: Shapes, most: int
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Return fresh inputs in these shapes, as a caller passes them, for at most `most` runs."""
        return run_inputs(self.fresh, specs, shapes, most)


def calibrate(
    model: Model,
    shapes: Shapes,
    convolutions: Geometries,
    macs: int,
    stated: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
    effort: Effort = DEFAULT_EFFORT,
) -> Calibration:
    """Calibrate a model that costs `macs` on inputs of these shapes, at the given sites.

    `stated` is the value range that the user stated. `samples` are real inputs by name, along the
    first axis, which replace synthetic ones; of 20 or more the last fifth is held out.

    Raises:
        Refusal: `samples_invalid` where the model gives NaN or infinity on the samples;
            `input_range_invalid` where the stated range does not fit the model.
        WeakCalibrationError: running this model teaches nothing.
    """
    try:
        allowance = _choose_size(model, shapes, macs, effort, is_distilled=samples is None)
        return _calibrate(allowance, convolutions, stated, samples, tell)
    except NoProgramError as error:
        raise WeakCalibrationError(f"the model cannot be taken apart: {error}") from error
    except StepError as error:
        reason = f"the model does not run on synthetic inputs: {error}"
        raise WeakCalibrationError(reason) from error


def _choose_size(
    model: Model,
    shapes: Shapes,
    macs: int,
    effort: Effort,
    *,
    is_distilled: bool,
) -> Allowance:
    """Return the model at the size at which it is run, smaller where distilling needs that."""
    program = model.program()
    harness = build_harness(program, model.inputs, shapes, effort)
    if not harness.images:
        raise WeakCalibrationError(
            "no input of the model is a batch of images, signals or indices of a stored table"
        )
    allowance = Allowance.of(harness, macs, shapes, effort)
    if not is_distilled or not program.normalises or allowance.affordable_steps:
        return allowance
    short = replace(effort, longest_side=effort.short_side)
    shorter = build_harness(program, model.inputs, shapes, short)
    shorter_allowance = Allowance.of(shorter, macs, shapes, effort)
    return shorter_allowance if shorter_allowance.affordable_steps else allowance


def _calibrate(
    allowance: Allowance,
    convolutions: Geometries,
    stated: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
) -> Calibration:
    """Find the value range and calibrate in it, without distilling where that fails.

    Raises:
        Refusal, WeakCalibrationError: as `calibrate` does.
        StepError: the model does not run on synthetic inputs.
    """
    harness = allowance.harness
    limits = stated
    source_of_limits = None
    if stated is None and samples is not None:
        limits = value_limits(samples[harness.image_names[0]])
        source_of_limits = "the samples"
    ranges, source = probed_ranges(harness, limits, allowance.probe_images)
    report_members: dict[str, Any] = {
        "ranges": [values.name for values in ranges],
        "ranges_from": source_of_limits or source,
        "notes": _weak_inputs(harness),
    }
    if samples is not None:
        return _learn(allowance, convolutions, ranges, samples, 0, report_members, tell)
    steps = allowance.distilling_steps(ranges)
    try:
        return _learn(allowance, convolutions, ranges, None, steps, report_members, tell)
    except DistillingError as error:
        report_members["notes"].append(f"not distilled: {error}")
        return _learn(allowance, convolutions, ranges, None, 0, report_members, tell)


def _learn(
    allowance: Allowance,
    convolutions: Geometries,
    ranges: Sequence[ValueRange],
    samples: Arrays | None,
    steps: int,
    report_members: Mapping[str, Any],
    tell: Tell,
) -> Calibration:
    """Make the inputs, distilled by `steps`, and measure the moments on them.

    Raises:
        DistillingError: the inputs cannot be distilled.
    """
    harness = allowance.harness
    held_out_steps = _held_out_steps(allowance, steps)
    work = 2 * allowance.held_out_images * held_out_steps
    work += steps * allowance.distilled_images(steps)
    distiller = Distiller(harness, work, tell)

    def judging(seed: int) -> list[Batch]:
        """Return mosaics to judge by, distilled if that changes judgements."""
        images = from_all_ranges(harness, mosaics, ranges, allowance.held_out_images, seed)
        return distiller.distil(images, held_out_steps, seed)

    held_out = judging(_HELD_OUT_SEED)
    fresh = judging(_FRESH_SEED)
    if samples is not None:
        fitting = real(allowance, samples, convolutions)
        held_out = fitting.held_out or held_out
    elif steps:
        fitting = distilled(allowance, ranges, convolutions, distiller, steps)
    else:
        fitting = plain(allowance, ranges, convolutions, tell)
    notes = report_members["notes"] + _unmeasured_note(fitting, convolutions)
    return Calibration(
        program=harness.program,
        batches=tuple(fitting.batches),
        held_out=tuple(held_out),
        fresh=tuple(fresh),
        moments=fitting.moments,
        sample_macs=allowance.sample_macs,
        batch=harness.batch,
        report_members={**report_members, "notes": notes, **fitting.report_members},
    )


def _weak_inputs(harness: Harness) -> list[str]:
    """Return a note on inputs that resemble no real ones; nothing where there are none."""
    return [
        f"weak: input {images.name!r} has random indices below {images.rows}, which resemble no "
        "real sequence; samples are better"
        for images in harness.images
        if images.rows is not None
    ]


def _held_out_steps(allowance: Allowance, steps: int) -> int:
    """Return the steps to distil held-out images by; classes alone change no judgement."""
    if not allowance.harness.program.normalises:
        return 0
    return min(steps, allowance.effort.held_out_steps)


def _unmeasured_note(fitting: FittingImages, convolutions: Geometries) -> list[str]:
    """Return a note that names sites without moments; nothing where there are none."""
    unmeasured = [site for site in convolutions if site not in fitting.moments.by_site]
    if not unmeasured:
        return []
    names = ", ".join(unmeasured[:_MOST_NAMED])
    more = " and more" if len(unmeasured) > _MOST_NAMED else ""
    return [f"by their weights alone, since no finite inputs reach them: {names}{more}"]

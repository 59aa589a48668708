"""Calibrate a model: inputs like real ones, and every site's moments on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from convpress.calibration import InputValues
from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.fitting_images import (
    FittingImages,
    distilled,
    plain,
    real,
)
from worker.engine.calibration.harness import Harness, WeakCalibrationError
from worker.engine.calibration.inputs.distil import DistillingError
from worker.engine.calibration.inputs.distiller import Distiller
from worker.engine.calibration.inputs.distiller import Tell as Tell
from worker.engine.calibration.inputs.kinds import Kinds, choose_kinds, showing_objects
from worker.engine.calibration.inputs.mixture import from_all_ranges
from worker.engine.calibration.inputs.model_inputs import Arrays, Shapes
from worker.engine.calibration.inputs.photographs import Scenes, load_scenes
from worker.engine.calibration.inputs.probing import (
    ProbedRanges,
    Trials,
    probed_ranges,
)
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.real_samples import value_limits
from worker.engine.calibration.inputs.sample_doubt import doubt_of_samples
from worker.engine.calibration.judging_inputs import (
    JudgingInputs,
    judging_by_generated,
    judging_by_samples,
)
from worker.engine.calibration.quiet_outputs import are_quiet, inner_program
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.run_size import build_harness
from worker.engine.calibration.statistics.covariance import Geometries, MeasuredMoments
from worker.engine.model import Model
from worker.engine.program import NoProgramError, Program, StepError

Weigh = Callable[[float], object]
"""Takes the work of a calibration, in runs of the model for each image to fit on."""

_HELD_OUT_SEED = 1
# The seeds before it make the images to fit on, the held-out ones, and those to try ranges on.
_QUIET_SEED = 5
# The refit is chosen by fewer samples than these no better than by synthetic images.
_FEWEST_TO_CHOOSE_BY = 4
# Moments cost about four runs of the model on the images that they are measured on.
_RUNS_OF_MOMENTS = 4.0
# Unmeasured sites that a note names.
_MOST_NAMED = 8


@dataclass(frozen=True)
class Calibration:
    """What a calibration learned: a program, inputs to fit on and to judge by, and moments.

    Nothing is fitted on `held_out`, which the refit is chosen by, nor on `judging`, which the
    artifact is compared with the original on. The `moments` are those on `batches`.
    `sample_macs` is the cost of one image and `batch` the number of images that run together, of
    the inputs `image_names`; `smallest_batch` can run alone.
    `report_members` describe the calibration in the report; their `notes` give reasons for which it
    is weaker than it might be.
    """

    program: Program
    batches: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    judging: JudgingInputs
    moments: MeasuredMoments
    sample_macs: int
    batch: int
    smallest_batch: int
    image_names: tuple[str, ...]
    report_members: Mapping[str, Any]

    @property
    def judged_program(self) -> Program:
        """The program to judge by: with inner activations for outputs where its own say little."""
        if self.judging.quiet:
            return inner_program(self.program)
        return self.program


def calibrate(
    model: Model,
    shapes: Shapes,
    convolutions: Geometries,
    macs: int,
    stated: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
    effort: Effort = DEFAULT_EFFORT,
    scenes: Scenes | None = None,
    weigh: Weigh = lambda _: None,
) -> Calibration:
    """Calibrate a model that costs `macs` on inputs of these shapes, at the given sites.

    `stated` is the value range that the user stated. `samples` are real inputs by name, along the
    first axis, which replace synthetic ones; of five or more the last fifth is held out. `scenes`
    are the photographs to crop, those of the package by default. `tell` receives the share of the
    trials of ranges that is done. `weigh` then receives the work of what follows, in runs of the
    model for each image to fit on, and `tell` the share of that.

    Raises:
        Refusal: `samples_invalid` where the model gives NaN or infinity on the samples;
            `input_range_invalid` where the stated range does not fit the model.
        WeakCalibrationError: running this model teaches nothing.
    """
    try:
        allowance = _choose_size(
            model, shapes, macs, effort, is_distilled=samples is None
        )
        kinds = choose_kinds(
            allowance.harness, scenes or load_scenes(), stated, allowance.probe_images
        )
        return _calibrate(allowance, kinds, convolutions, stated, samples, tell, weigh)
    except NoProgramError as error:
        raise WeakCalibrationError(
            f"the model cannot be taken apart: {error}"
        ) from error
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
    kinds: Kinds,
    convolutions: Geometries,
    stated: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
    weigh: Weigh,
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
    # Samples are the truth: they need no check of a range.
    trials = Trials(kinds.probing, kinds.ranges, allowance.probe_images)
    probed = probed_ranges(
        harness,
        limits,
        trials,
        check=samples is None,
        tell=lambda share: tell(allowance.effort.trials_share * share),
    )
    if samples is None and _are_quiet(harness, kinds, probed.ranges):
        kinds = showing_objects(harness, kinds)
    progress = tell, weigh
    report_members: dict[str, Any] = {
        "ranges": [values.name for values in probed.ranges],
        "ranges_from": source_of_limits or probed.source,
        "notes": [*_weak_inputs(harness), *kinds.notes],
    }
    if samples is not None:
        return _learn(
            allowance, kinds, convolutions, probed, samples, 0, report_members, progress
        )
    report_members |= kinds.report_members
    steps = allowance.distilling_steps(probed.ranges)
    try:
        return _learn(
            allowance,
            kinds,
            convolutions,
            probed,
            None,
            steps,
            report_members,
            progress,
        )
    except DistillingError as error:
        report_members["notes"].append(f"not distilled: {error}")
        return _learn(
            allowance, kinds, convolutions, probed, None, 0, report_members, progress
        )


def _learn(
    allowance: Allowance,
    kinds: Kinds,
    convolutions: Geometries,
    probed: ProbedRanges,
    samples: Arrays | None,
    steps: int,
    report_members: Mapping[str, Any],
    progress: tuple[Tell, Weigh],
) -> Calibration:
    """Make the inputs, distilled by `steps`, and measure the moments on them.

    Raises:
        DistillingError: the inputs cannot be distilled.
    """
    tell, weigh = progress
    harness = allowance.harness
    held_out_steps = _held_out_steps(allowance, steps)
    judged = _judging_count(allowance, len(probed.ranges))
    judged += _judging_count(allowance, len(probed.plausible))
    work = judged * held_out_steps
    work += steps * allowance.distilled_images(steps)
    runs = allowance.distilling_runs(work, steps)
    weigh(runs + _RUNS_OF_MOMENTS)
    share_of_distilling = runs / (runs + _RUNS_OF_MOMENTS)
    judging_share = allowance.effort.judging_share

    def tell_later(share: float) -> None:
        tell(judging_share + (1 - judging_share) * share)

    distiller = Distiller(harness, work, share_of_distilling, tell_later)

    def judging_batches(
        ranges: Sequence[ValueRange], count: int, seed: int
    ) -> list[Batch]:
        """Return images that nothing is fitted on, distilled if that changes judgements."""
        images = from_all_ranges(harness, kinds.judging, ranges, count, seed)
        return distiller.distil(images, held_out_steps, seed)

    held_out = judging_batches(probed.ranges, allowance.held_out_images, _HELD_OUT_SEED)
    if samples is not None:
        fitting = real(allowance, samples, convolutions)
        if fitting.report_members["held_out_samples"] >= _FEWEST_TO_CHOOSE_BY:
            held_out = fitting.held_out
        trials = Trials(kinds.probing, kinds.ranges, allowance.probe_images)
        doubt = doubt_of_samples(harness, fitting.batches, trials)
        judging = judging_by_samples(fitting, doubt).checked(harness.program)
    else:
        judging = judging_by_generated(
            probed, harness, allowance.held_out_images, judging_batches
        ).checked(harness.program)
        if not held_out_steps:
            tell_later(0.0)
        if steps:
            fitting = distilled(
                allowance, kinds.fitting, probed.ranges, convolutions, distiller, steps
            )
        else:
            fitting = plain(
                allowance, kinds.fitting, probed.ranges, convolutions, tell_later
            )
    notes = report_members["notes"] + _unmeasured_note(fitting, convolutions)
    return Calibration(
        program=harness.program,
        batches=tuple(fitting.batches),
        held_out=tuple(held_out),
        judging=judging,
        moments=fitting.moments,
        sample_macs=allowance.sample_macs,
        batch=harness.batch,
        smallest_batch=harness.fixed_batch,
        image_names=tuple(harness.image_names),
        report_members={**report_members, "notes": notes, **fitting.report_members},
    )


def _are_quiet(harness: Harness, kinds: Kinds, ranges: Sequence[ValueRange]) -> bool:
    """Whether the outputs say little on images of these kinds."""
    images = from_all_ranges(harness, kinds.judging, ranges, harness.batch, _QUIET_SEED)
    return are_quiet(harness.program, images)


def _weak_inputs(harness: Harness) -> list[str]:
    """Return a note on inputs that resemble no real ones; nothing where there are none."""
    return [
        f"weak: input {images.name!r} has random indices below {images.rows}, which resemble no "
        "real sequence; samples are better"
        for images in harness.images
        if images.rows is not None
    ]


def _judging_count(allowance: Allowance, ranges: int) -> int:
    """Return the images to judge by over all ranges, each of which has whole batches."""
    batch = allowance.harness.batch
    in_each = -(-allowance.held_out_images // ranges)
    return ranges * batch * -(-in_each // batch)


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
    first_names = unmeasured[:_MOST_NAMED]
    names = ", ".join(first_names)
    more = " and more" if len(unmeasured) > _MOST_NAMED else ""
    return [f"by their weights alone, since no finite inputs reach them: {names}{more}"]

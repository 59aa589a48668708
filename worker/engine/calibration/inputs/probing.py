"""Find the value range of a model's images by running it on some images in each known range."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convpress.calibration import InputValues
from worker.engine.calibration.class_scores import (
    are_surely_classes,
    class_scores,
)
from worker.engine.calibration.harness import Harness, WeakCalibrationError
from worker.engine.calibration.inputs.distil import statistics_mismatch
from worker.engine.calibration.inputs.generators import Generator, remembered
from worker.engine.calibration.inputs.ranges import (
    ValueRange,
    plausible_by_scores,
    ranges_by_scores,
    stated_range,
    tells_apart,
)
from worker.engine.calibration.replay import Batch
from worker.engine.program import run

# Relative difference within which outputs count as the same.
_SAME = 1e-6
# The seeds 0 to 2 make the images to fit on and the held-out ones.
_SEED = 3
# Known ranges that are covered where the model's outputs favour none.
_RANGES_BY_DEFAULT = 2
# Images that show whether outputs are finite and differ, and which ranges are out of the question
# where stored statistics tell the range.
FEW_IMAGES = 4
# Of these, ranges are out whose mismatch is this many times the least.
_HOPELESS_MISMATCH = 8.0
# A range is plausible while its images' statistics are not this many times as far from the stored
# ones as those of the best range.
_PLAUSIBLE_MISMATCH = 2.0
# The mean over a model's normalisations: trained ones are an order of magnitude below.
_MOST_MISMATCH = 1.0
_NOT_FINITE = "NaN or infinity"
IF_CLASSES = "if its outputs are class scores, "
_UNSURE = (
    "the range of values is that in which a classifier tells images apart, and these few outputs "
    "may be no class scores"
)
_CONSTANT = "the same outputs whatever the inputs"


@dataclass(frozen=True)
class Trials:
    """The images that value ranges are tried on, `count` in each, and the usual ranges."""

    generator: Generator
    usual: tuple[ValueRange, ...]
    count: int


@dataclass(frozen=True)
class Probe:
    """A model's outputs on images in one range.

    `scores` are a classifier's log-probabilities `(images, classes)`; `sure` says whether a model
    with such outputs can be nothing else. `failure` says why nothing can be learned from the
    outputs.
    """

    scores: Tensor | None = None
    sure: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class ProbedRanges:
    """The ranges to make images in, and for the report how they were found.

    `plausible` are the ranges to judge the artifact in: every one that the model may expect. Where
    the range is a guess, they are more than those that images to fit on are made in. `doubt` says
    why the guess may be wrong, None where the range is known.
    """

    ranges: tuple[ValueRange, ...]
    source: str
    plausible: tuple[ValueRange, ...]
    doubt: str | None = None


def probed_ranges(
    harness: Harness,
    stated: InputValues | None,
    trials: Trials,
    *,
    check: bool = True,
    tell: Callable[[float], object] = lambda _: None,
) -> ProbedRanges:
    """Return the ranges that a model may expect, of the stated one or of the usual ones.

    With `check` a stated range is compared with the usual ones: the artifact is judged in those too
    that fit the model far better. `tell` receives the share of the ranges that are tried.

    Raises:
        WeakCalibrationError: in no range does the model give finite outputs that differ.
    """
    generator = remembered(trials.generator)
    trials = replace(trials, generator=generator)
    tried = _tried(harness, stated, trials)
    followed = tried if stated is not None else _followed(tried, tell)
    pairs = [probe_leniently(harness, values, trials) for values in followed]
    by_range = dict(pairs)
    usable = {values: each for values, each in by_range.items() if each.failure is None}
    if not usable:
        failures = [str(each.failure) for each in by_range.values()]
        each_once = dict.fromkeys(failures)
        reason = " or ".join(each_once)
        raise WeakCalibrationError(f"on synthetic inputs the model gives {reason}")
    ranges = tuple(usable)
    if stated is not None:
        better = _better_ranges(harness, usable, trials, tell) if check else ()
        sure = harness.program.normalises or usable[ranges[0]].sure
        return _stated(ranges, better, "" if sure else IF_CLASSES)
    if _are_whole(harness):
        return ProbedRanges(ranges, "the integer type of the inputs", ranges)
    if harness.program.normalises:
        return _by_statistics(harness, ranges, trials)
    scores = {
        values: each.scores
        for values, each in usable.items()
        if each.scores is not None
    }
    if scores:
        probed = _by_scores(scores, ranges)
        sure = all(usable[values].sure for values in scores)
        return probed if sure else replace(probed, doubt=probed.doubt or _UNSURE)
    source = "usual ranges, since the model's outputs favour none"
    doubt = "the model does not tell the range of its inputs' values"
    likeliest = ranges[:_RANGES_BY_DEFAULT]
    return ProbedRanges(likeliest, source, ranges, doubt)


def _stated(
    stated: tuple[ValueRange, ...], better: tuple[ValueRange, ...], condition: str
) -> ProbedRanges:
    """Return the stated range, judged in those too that under a condition fit far better."""
    source = "the request"
    if not better:
        return ProbedRanges(stated, source, stated)
    names = " or ".join(values.name for values in better)
    doubt = (
        f"{condition}the model fits values of {names} far better than the stated ones"
    )
    return ProbedRanges(stated, source, (*stated, *better), doubt)


def _better_ranges(
    harness: Harness,
    by_stated: Mapping[ValueRange, Probe],
    trials: Trials,
    tell: Callable[[float], object],
) -> tuple[ValueRange, ...]:
    """Return the usual ranges that fit a model far better than the stated one, which was probed.

    Those that BatchNorm statistics or class scores leave plausible, where the stated one is not
    plausible among them. Other models do not tell.
    """
    if _are_whole(harness):
        return ()
    [stated] = by_stated
    others = [values for values in trials.usual if values != stated]
    followed = _followed(others, tell)
    pairs = [probe_leniently(harness, values, trials) for values in followed]
    by_usual = dict(pairs)
    usable = {values: each for values, each in by_usual.items() if each.failure is None}
    usable = {**by_stated, **usable}
    if harness.program.normalises:
        probed = _by_statistics(harness, tuple(usable), trials)
    else:
        scores = {
            values: each.scores
            for values, each in usable.items()
            if each.scores is not None
        }
        if not scores:
            return ()
        probed = _by_scores(scores, tuple(usable))
    same_name = [values.name == stated.name for values in probed.plausible]
    is_plausible = any(same_name)
    is_in_doubt = probed.doubt is not None
    return () if is_plausible or is_in_doubt else probed.plausible


def _by_statistics(
    harness: Harness, ranges: tuple[ValueRange, ...], trials: Trials
) -> ProbedRanges:
    """Return the range whose images' statistics are nearest to those that the model stores.

    Few images rule most ranges out. The others are tried on all of them.
    """
    rough = {
        values: _mean_mismatch(harness, trials, values, FEW_IMAGES) for values in ranges
    }
    hopeless = _HOPELESS_MISMATCH * min(rough.values())
    hopeful = [values for values in ranges if rough[values] <= hopeless]
    mismatches = rough
    if trials.count > max(FEW_IMAGES, harness.batch):
        mismatches = {
            values: _mean_mismatch(harness, trials, values, trials.count)
            for values in hopeful
        }
    best = min(hopeful, key=mismatches.__getitem__)
    most = _PLAUSIBLE_MISMATCH * mismatches[best]
    plausible = tuple(values for values in hopeful if mismatches[values] <= most)
    source = "the model's BatchNorm statistics"
    if mismatches[best] <= _MOST_MISMATCH:
        return ProbedRanges((best,), source, plausible)
    doubt = "no usual range of values gives the statistics that the model stores"
    return ProbedRanges((best,), source, plausible, doubt)


def _by_scores(
    scores: Mapping[ValueRange, Tensor], usable: tuple[ValueRange, ...]
) -> ProbedRanges:
    """Return the ranges in which a classifier tells images apart.

    An untrained classifier tells them apart in none: every range is then plausible.
    """
    ranges = ranges_by_scores(scores)
    source = "the model's class scores on synthetic images"
    if not tells_apart(scores):
        doubt = "in no range of values does the model tell synthetic images apart"
        return ProbedRanges(ranges, source, usable, doubt)
    return ProbedRanges(ranges, source, plausible_by_scores(scores))


def _are_whole(harness: Harness) -> bool:
    """Whether all images are integers."""
    return all(images.is_whole for images in harness.images)


def _tried(
    harness: Harness, stated: InputValues | None, trials: Trials
) -> tuple[ValueRange, ...]:
    """Return the ranges to try."""
    channels = harness.images[0].channels
    if stated is not None:
        return (stated_range(stated, channels),)
    # The type of integer inputs fixes the range: one range stands for all.
    if _are_whole(harness):
        return trials.usual[:1]
    return trials.usual


def _followed(
    ranges: Sequence[ValueRange], tell: Callable[[float], object]
) -> Iterator[ValueRange]:
    """Yield ranges, and tell after each which share of them is tried."""
    for done, values in enumerate(ranges, 1):
        yield values
        tell(done / len(ranges))


def probe_leniently(
    harness: Harness, values: ValueRange, trials: Trials
) -> tuple[ValueRange, Probe]:
    """Probe a range; where values beyond its limits make outputs infinite, a strict one."""
    lenient = probe(harness, trials.generator, values, trials.count)
    if lenient.failure != _NOT_FINITE:
        return values, lenient
    strict = replace(values, strict=True)
    return strict, probe(harness, trials.generator, strict, trials.count)


@torch.no_grad()
def probe(
    harness: Harness, generator: Generator, values: ValueRange, count: int
) -> Probe:
    """Return the model's outputs on images in a range: `count`, and at least two batches."""
    tables: list[Tensor] = []
    first: list[Tensor] | None = None
    differ = False
    sure = True
    tried = 0
    two_batches = 2 * harness.batch
    enough = max(FEW_IMAGES, two_batches)
    most = max(count, two_batches)
    for batch in _images(harness, generator, values, most):
        outputs = run(harness.program, batch)
        numbers = _floating(outputs)
        are_finite = [bool(y.isfinite().all()) for y in numbers]
        if not all(are_finite):
            return Probe(failure=_NOT_FINITE)
        table = class_scores(outputs, harness.batch)
        if table is not None:
            tables.append(table)
            sure = sure and are_surely_classes(outputs, harness.batch)
        if first is None:
            first = numbers
        # Outputs without floating-point numbers are not compared.
        differ = differ or not numbers or not _are_same(first, numbers)
        tried += harness.batch
        # Scores are compared over all images, where nothing else tells the range.
        needs_scores = bool(tables) and not harness.program.normalises
        if differ and tried >= enough and not needs_scores:
            break
    if not differ:
        return Probe(failure=_CONSTANT)
    scores = torch.cat(tables) if tables else None
    return Probe(scores, sure)


def _floating(outputs: Sequence[Any]) -> list[Tensor]:
    """Return the outputs that are floating-point tensors."""
    tensors = [y for y in outputs if isinstance(y, Tensor)]
    return [y for y in tensors if y.is_floating_point()]


def _are_same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two runs gave the same outputs, up to rounding."""
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape:
            return False
        if not torch.allclose(one, other, rtol=_SAME, atol=0):
            return False
    return True


def least_mismatch(harness: Harness, trials: Trials) -> float:
    """Return the mismatch of the usual range whose statistics are nearest to the stored ones."""
    trials = replace(trials, generator=remembered(trials.generator))
    mismatches = []
    for values in trials.usual:
        usable, probed = probe_leniently(harness, values, trials)
        if probed.failure is None:
            mismatches.append(_mean_mismatch(harness, trials, usable, trials.count))
    return min(mismatches, default=math.inf)


def _mean_mismatch(
    harness: Harness, trials: Trials, values: ValueRange, count: int
) -> float:
    """Return the mismatch of images in a range."""
    return mismatch_of(harness, _images(harness, trials.generator, values, count))


@torch.no_grad()
def mismatch_of(harness: Harness, batches: Sequence[Batch]) -> float:
    """Return the distance of images' statistics to the stored ones, the mean over all of these."""
    mismatches = [
        float(statistics_mismatch(harness.program, batch)) for batch in batches
    ]
    total = sum(mismatches)
    steps = harness.program.steps
    norms = sum(step.norm is not None for step in steps)
    return total / (norms * len(batches))


def _images(
    harness: Harness, generator: Generator, values: ValueRange, count: int
) -> list[Batch]:
    """Return the images to try a range on: the same ones in every range."""
    return harness.synthetic(generator, values, count, _SEED)

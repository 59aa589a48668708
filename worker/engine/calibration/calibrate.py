"""From a model to what calibration knows of it: inputs that resemble real ones, and every site's moments on them.

All limits are amounts of work, not of time, so that the same model gives the same artifact on a slow day too.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal
from worker.engine.calibration.harness import Subject, WeakCalibrationError, subject
from worker.engine.calibration.inputs.distil import DistillingError, distil
from worker.engine.calibration.inputs.model_inputs import Arrays
from worker.engine.calibration.inputs.probing import probe, probed_ranges
from worker.engine.calibration.inputs.ranges import Range, known_ranges
from worker.engine.calibration.inputs.synthetic import Generator, dead_leaves, mosaics
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.statistics.batchnorm_statistics import twin, twin_statistics
from worker.engine.calibration.statistics.covariance import Observation, Observer, observe
from worker.engine.model import Model, TensorSpec
from worker.engine.numerics.convolution import Array, Convolution
from worker.engine.program import NoProgramError, Program, StepError, run

_MOST_WORK = 2_000_000_000_000
"""Multiply-accumulates that distilling the inputs to fit on may take; what is learned of them may take as many."""
_PASSES, _RUNS = 3, 6
"""A step of distilling costs about three runs of the model: one forward, and backward twice as much. Moments, their
doubling and a refit, whose wide layers run more than once, take about six; those before rectifiers, more."""

_MOST_IMAGES, _FIRST_IMAGES, _FEWEST_IMAGES = 384, 32, 8
MOST_BYTES, _MOST_BYTES_KEPT = 256 << 20, 96 << 20
"""Of memory: for what a model's values take on all samples where these go through it together, and for the samples."""
_STEPS_BY_STATISTICS, _STEPS_BY_CLASSES, _FEWEST_STEPS, _FEWEST_DISTILLED = 40, 20, 20, 32
_ENOUGH_IMAGES = 192
_SHORT_SIDE = 32
"""Of images of models without a head, where larger ones would be too much work to distil."""
_JUDGING_IMAGES, _JUDGING_STEPS = 64, 20
_FEWEST_TO_SPLIT = 20
_PROBES, _FEWEST_PROBES = 16, 4
"""Images that a range of values is tried on; fewer where all ranges would take more than what the moments may."""
_MOST_NAMED = 8
_CONVERGED, _DIRECTIONS = 0.05, 64

_DISTILLING_SHARE = 0.7
"""Of the time that calibration takes, where images are distilled; the rest is for the moments."""

Tell = Callable[[float], None]
"""Told which fraction of a calibration is behind."""


@dataclass(frozen=True)
class Calibration:
    """What was learned of a model: its program, inputs to fit on, inputs to judge by, and moments on the former.

    `held_out` and `fresh` stem from another generator and other seeds, and nothing is fitted on them. `account`
    says for the report how all this came about, its `notes` what made it weaker than it might be.
    """

    program: Program
    batches: tuple[Batch, ...]
    held_out: tuple[Batch, ...]
    fresh: tuple[Batch, ...]
    observation: Observation
    sample_macs: int
    batch: int
    account: Mapping[str, Any]

    def fresh_inputs(
        self, specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]], most: int
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Return fresh inputs as a caller passes them, of these shapes: at most so many runs of the model."""
        found: list[dict[str, NDArray[np.generic]]] = []
        for batch in self.fresh:
            shaped = {spec.name: spec.axes(shapes[spec.name]) for spec in specs}
            runs = max(
                len(batch[name]) // max(shape[0], 1) for name, shape in shaped.items() if shape
            )
            found += [
                {spec.name: _piece(batch[spec.name], shaped[spec.name], at, spec) for spec in specs}
                for at in range(runs)
            ]
        return found[:most]


def _piece(
    tensor: Tensor, shape: tuple[int, ...], at: int, spec: TensorSpec
) -> NDArray[np.generic]:
    """Return one run's part of an input; images smaller than the shape, repeated side by side until they fill it."""
    whole = tensor if tensor.shape == shape else tensor[at * shape[0] : (at + 1) * shape[0]]
    repeats = [
        wanted // size if size else 1 for wanted, size in zip(shape, whole.shape, strict=True)
    ]
    piece = whole.numpy(force=True)
    return np.tile(piece, repeats).astype(spec.dtype) if shape else np.asarray(piece, spec.dtype)


def calibrate(
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    convolutions: Mapping[str, Convolution],
    macs: int,
    told: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
) -> Calibration:
    """Calibrate a model that costs `macs` on inputs of these shapes, at the sites whose geometry is given.

    `told` is the range of its inputs' values, where somebody told it; `samples` are real inputs by name, samples along
    the first axis, where somebody has some: they are then used instead of synthetic ones. Of 20 or more the last fifth
    is held out.

    Raises:
        Refusal: `samples_invalid` where the model gives NaN or infinity on the samples.
        WeakCalibrationError: nothing can be learned from running this model.
    """
    try:
        program = model.program()
        found = subject(program, model.inputs, shapes)
        if not found.images:
            raise WeakCalibrationError("no input of the model is a batch of images or signals")
        if (
            samples is None
            and program.normalises
            and not _affordable_steps(_sample_macs(found, macs, shapes))
        ):
            shorter = subject(program, model.inputs, shapes, _SHORT_SIDE)
            found = shorter if _affordable_steps(_sample_macs(shorter, macs, shapes)) else found
        return _calibrate(
            found, convolutions, _sample_macs(found, macs, shapes), told, samples, tell
        )
    except NoProgramError as error:
        raise WeakCalibrationError(f"the model cannot be taken apart: {error}") from error
    except StepError as error:
        raise WeakCalibrationError(
            f"the model does not run on synthetic inputs: {error}"
        ) from error


def _calibrate(
    found: Subject,
    convolutions: Mapping[str, Convolution],
    sample_macs: int,
    told: InputValues | None,
    samples: Arrays | None,
    tell: Tell,
) -> Calibration:
    span = told if told is not None or samples is None else _span(samples[found.images[0].name])
    ranges, source = probed_ranges(found, span, _probes(found, sample_macs))
    if told is None and samples is not None:
        source = "the samples"
    account: dict[str, Any] = {
        "ranges": [known.name for known in ranges],
        "ranges_from": source,
        "notes": [],
    }
    steps = _distilling_steps(found, ranges, sample_macs) if samples is None else 0
    try:
        return _learned(found, convolutions, sample_macs, ranges, samples, steps, account, tell)
    except DistillingError as error:
        account["notes"].append(f"not distilled: {error}")
        return _learned(found, convolutions, sample_macs, ranges, samples, 0, account, tell)


def _learned(
    found: Subject,
    convolutions: Mapping[str, Convolution],
    sample_macs: int,
    ranges: Sequence[Range],
    samples: Arrays | None,
    steps: int,
    account: dict[str, Any],
    tell: Tell,
) -> Calibration:
    """Make inputs in these ranges, distilled by so many steps, and measure the moments on them.

    Raises:
        DistillingError: the inputs cannot be distilled.
    """
    judging_steps = (
        min(steps, _JUDGING_STEPS) if found.program.normalises else 0
    )  # classes alone change no judgement
    count = _most_images(found, _PASSES * max(steps, 1) * sample_macs)
    to_judge = min(
        _JUDGING_IMAGES, _most_images(found, 2 * _RUNS * sample_macs)
    )  # half of what could be fitted on
    work = 2 * to_judge * judging_steps + (count * steps if samples is None else 0)
    bend = _Bending(found, work, tell)
    held_out, fresh = (
        bend(_leaves(found, mosaics, ranges, to_judge, seed), judging_steps, seed)
        for seed in (1, 2)
    )
    if samples is not None:
        fitted, judging = _split(samples, found)
        most = _most_images(found, _RUNS * sample_macs)
        batches = found.real(fitted, most)
        held_out = found.real(judging, most) if judging is not None else held_out
        _require_finite(found, [*batches, *(held_out if judging is not None else ())])
        observation = Observation(observe(found.program, batches, convolutions), {})
        images = found.images[0].name
        account |= {"kind": "samples", "images": sum(len(batch[images]) for batch in batches)}
        account |= {
            "held_out_samples": 0
            if judging is None
            else sum(len(batch[images]) for batch in held_out)
        }
    elif steps:
        batches = bend(_leaves(found, dead_leaves, ranges, count, 0), steps, 0)
        distilled = len(batches) * found.batch
        batches += _filling(found, ranges, distilled, sample_macs)
        observation = Observation(observe(found.program, batches, convolutions), {})
        account |= {
            "kind": "distilled",
            "images": len(batches) * found.batch,
            "distilled": distilled,
            "steps": steps,
        }
    else:
        batches, observation = _until_converged(found, ranges, convolutions, sample_macs, tell)
        account |= {
            "kind": "synthetic",
            "images": len(batches) * found.batch,
            "twin": bool(observation.statistics),
        }
    unmeasured = [site for site in convolutions if site not in observation.moments]
    if unmeasured:
        some = ", ".join(unmeasured[:_MOST_NAMED]) + (
            " and more" if len(unmeasured) > _MOST_NAMED else ""
        )
        account["notes"].append(
            f"by their weights alone, since no finite inputs reach them: {some}"
        )
    return Calibration(
        found.program,
        tuple(batches),
        tuple(held_out),
        tuple(fresh),
        observation,
        sample_macs,
        found.batch,
        account,
    )


def _span(images: NDArray[np.generic]) -> InputValues:
    """Return the least and the greatest value as the range of all."""
    low, high = float(images.min()), float(images.max())
    return InputValues((low, high if high > low else low + max(1.0, abs(low))), None, None)


def _split(samples: Arrays, found: Subject) -> tuple[Arrays, Arrays | None]:
    """Return the samples to fit on, and the last fifth to judge by; None where there are too few for that."""
    names = [images.name for images in found.images]
    count = len(samples[names[0]])
    fifth = count // 5
    if count < _FEWEST_TO_SPLIT or fifth < max(found.shapes[name][0] for name in names):
        return samples, None
    return (
        {
            name: array[: count - fifth] if name in names else array
            for name, array in samples.items()
        },
        {
            name: array[count - fifth :] if name in names else array
            for name, array in samples.items()
        },
    )


@torch.no_grad()
def _require_finite(found: Subject, batches: Sequence[Batch]) -> None:
    for batch in batches:
        outputs = run(found.program, batch)
        if not all(
            bool(output.isfinite().all()) for output in outputs if isinstance(output, Tensor)
        ):
            raise Refusal(
                Code.SAMPLES_INVALID,
                "the model gives NaN or infinity on the samples",
                field="samples",
                expected="samples such as the model was trained on",
                got="outputs that are not finite",
            )


def _sample_macs(found: Subject, macs: int, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return what one sample costs, at the size that calibration uses."""
    name = found.images[0].name
    share = prod(found.shapes[name]) / prod(shapes[name])
    return max(1, round(macs * share / found.shapes[name][0]))


def _leaves(
    found: Subject, generator: Generator, ranges: Sequence[Range], count: int, seed: int
) -> list[Batch]:
    """Return samples in equal parts from all ranges."""
    share = -(-count // len(ranges))
    parts = (
        found.synthetic(generator, values, share, seed + 100 * at)
        for at, values in enumerate(ranges)
    )
    return [batch for part in parts for batch in part]


def _filling(
    found: Subject, ranges: Sequence[Range], distilled: int, sample_macs: int
) -> list[Batch]:
    """Return plain images to go with so few that were distilled by classes alone; none where statistics are stored."""
    enough = min(_ENOUGH_IMAGES, _most_images(found, _RUNS * sample_macs))
    if distilled >= enough or found.program.normalises:
        return []
    return _leaves(found, dead_leaves, ranges, enough - distilled, 4)


def _probes(found: Subject, sample_macs: int) -> int:
    """Return on how many images each of the known ranges may be tried."""
    ranges = len(known_ranges(found.images[0].channels))
    return max(_FEWEST_PROBES, min(_PROBES, _most_images(found, _RUNS * sample_macs) // ranges))


def _distilling_steps(found: Subject, ranges: Sequence[Range], sample_macs: int) -> int:
    """Return how many steps of distilling the work allowed pays for; 0 where there is nothing to distil by."""
    affordable = _affordable_steps(sample_macs)
    if found.gradient_input is None or not affordable:
        return 0
    if found.program.normalises:
        return min(_STEPS_BY_STATISTICS, affordable)
    return (
        min(_STEPS_BY_CLASSES, affordable) if isinstance(probe(found, ranges[0], 1), Tensor) else 0
    )


def _affordable_steps(sample_macs: int) -> int:
    """Return how many steps of distilling the fewest images the work allowed pays for; 0 where that is too few."""
    steps = _MOST_WORK // (_PASSES * _FEWEST_DISTILLED * sample_macs)
    return steps if steps >= _FEWEST_STEPS else 0


def _most_images(found: Subject, work: int) -> int:
    """Return how many samples are affordable of which each takes so much work, and which are all kept."""
    bytes_each = sum(4 * prod(found.shapes[images.name][1:]) for images in found.images)
    return max(
        _FEWEST_IMAGES, min(_MOST_IMAGES, _MOST_BYTES_KEPT // bytes_each, _MOST_WORK // work)
    )


class _Bending:
    """Distils batches of a subject, and tells how much of all the work that there is, in image steps, is behind."""

    def __init__(self, found: Subject, work: int, tell: Tell) -> None:
        self._found, self._work, self._tell = found, work, tell
        self._done = 0

    def __call__(self, batches: Sequence[Batch], steps: int, seed: int) -> list[Batch]:
        """Distil batches; without steps, return them as they are."""
        name = self._found.gradient_input
        if name is None or not steps:
            return list(batches)
        bent = []
        for at, batch in enumerate(batches):
            bent.append(distil(self._found.program, batch, name, steps, 1000 * seed + at))
            self._done += self._found.batch * steps
            self._tell(_DISTILLING_SHARE * min(1.0, self._done / max(self._work, 1)))
        return bent


def _until_converged(
    found: Subject,
    ranges: Sequence[Range],
    convolutions: Mapping[str, Convolution],
    sample_macs: int,
    tell: Tell,
) -> tuple[list[Batch], Observation]:
    """Double the number of samples until the covariances stay the same within 5 %, or memory allows no more.

    New ones join those that are measured already, unless they give other statistics, and so other activations.
    """
    most = _most_images(found, _RUNS * sample_macs)
    first = most if most < 2 * _FIRST_IMAGES else _FIRST_IMAGES
    least = max(
        1, min(most, 2 * _FIRST_IMAGES) // found.batch
    )  # the first number of batches that may be enough
    observer, statistics = Observer(convolutions, least), dict[str, tuple[Tensor, Tensor]]()
    batches, last = list[Batch](), dict[str, Array]()
    for turn in itertools.count():
        made = len(batches) * found.batch
        more = _leaves(
            found, dead_leaves, ranges, min(2 * made, most) - made if made else first, 10 * turn
        )
        batches += more
        if found.program.normalises:
            statistics = dict(twin_statistics(found.program, batches, MOST_BYTES))
            observer, more = Observer(convolutions, len(batches)), batches
        observer.add(twin(found.program, statistics), more)
        made = len(batches) * found.batch
        if made >= most:
            break
        now = _sketches(observer)
        if last and _change(last, now) < _CONVERGED:
            break
        tell(made / most)
        last = now
    return batches, Observation(observer.taken(), statistics)


def _sketches(observer: Observer) -> dict[str, Array]:
    """Return what the sites' covariances make of some random directions: as good as they are to tell a change."""
    found = {}
    for site, moments in observer.moments():
        assert moments.held is not None  # observed moments have covariances
        size = moments.mean.shape[-1]
        signs = np.random.default_rng(0).choice(
            np.array([-1, 1], np.float32), (size, min(size, _DIRECTIONS))
        )
        found[site] = moments.held.times(signs)
    return found


def _change(before: Mapping[str, Array], now: Mapping[str, Array]) -> float:
    """Return the largest relative change of any site's covariance, by their sketches."""
    changes = [0.0]
    for site, new in now.items():
        size = float(np.linalg.norm(new))
        if site in before and size > 0:
            changes.append(float(np.linalg.norm(new - before[site])) / size)
    return max(changes)

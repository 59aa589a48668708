"""The calibration's inputs to judge an artifact by: held-out samples, or mosaics in all ranges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.engine.calibration.fitting_images import FittingImages
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.model_inputs import ImageInput, Shapes
from worker.engine.calibration.inputs.probing import ProbedRanges
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.run_inputs import run_inputs
from worker.engine.calibration.replay import Batch
from worker.engine.comparison_inputs import ComparisonInputs, Source
from worker.engine.model import TensorSpec

Mosaics = Callable[[Sequence[ValueRange], int, int], list[Batch]]
"""Returns at least `count` images in these ranges, from a seed."""

_SEED = 2
# Between the seeds of two ranges, so that they get different images.
_SEED_STEP = 100
# Grey images and those of three colours are what networks for images take.
_IMAGE_CHANNELS = (1, 3)
# Shorter sides are of spectrograms and of other tables of features.
_SHORTEST_SIDE = 16
# Signs and lines of text are the longest images that networks take.
_LONGEST_COLOUR_IMAGE = 4.0
# Long images of one channel are spectrograms more often than photographs.
_LONGEST_GREY_IMAGE = 1.5


@dataclass(frozen=True)
class JudgingInputs:
    """Batches to judge an artifact by; the members are those of `ComparisonInputs`."""

    source: Source
    groups: Mapping[str, tuple[Batch, ...]]
    doubts: tuple[str, ...] = ()
    like_truth: bool = True

    def run_inputs(
        self, specs: Sequence[TensorSpec], shapes: Shapes, most: int
    ) -> ComparisonInputs:
        """Return the inputs in these shapes, as a caller passes them.

        There are at most `most` runs over all groups, and one run of each group at least.
        """
        in_each = max(1, most // len(self.groups))
        groups = {
            name: run_inputs(batches, specs, shapes, in_each)
            for name, batches in self.groups.items()
        }
        return ComparisonInputs(self.source, groups, self.doubts, self.like_truth)


def judging_by_samples(fitting: FittingImages) -> JudgingInputs:
    """Return the real samples that were held out, or without any the fitted ones."""
    if fitting.held_out:
        return JudgingInputs("held-out samples", {"samples": tuple(fitting.held_out)})
    doubt = "too few samples were sent to hold any out: these are what the layers were fitted to"
    return JudgingInputs("fitted samples", {"samples": tuple(fitting.batches)}, (doubt,))


def judging_by_mosaics(
    probed: ProbedRanges, harness: Harness, count: int, mosaics: Mosaics
) -> JudgingInputs:
    """Return synthetic images in every plausible range, about `count` in all."""
    in_each = -(-count // len(probed.plausible))
    groups = {
        values.name: tuple(mosaics([values], in_each, _SEED + _SEED_STEP * at))
        for at, values in enumerate(probed.plausible)
    }
    doubts = [] if probed.doubt is None else [probed.doubt]
    strange = [image.name for image in harness.images if not _is_like_image(image)]
    if strange:
        names = ", ".join(strange)
        doubts.append(f"the inputs are no photographs as far as their shapes tell: {names}")
    return JudgingInputs("synthetic", groups, tuple(doubts), like_truth=not strange)


def _is_like_image(image: ImageInput) -> bool:
    """Whether an input has the shape of a photograph.

    >>> from numpy import dtype
    >>> photograph = ImageInput("x", dtype("float32"), 3, (224, 224), channels_last=False)
    >>> spectrogram = ImageInput("x", dtype("float32"), 1, (49, 10), channels_last=False)
    >>> _is_like_image(photograph), _is_like_image(spectrogram)
    (True, False)
    """
    if image.channels not in _IMAGE_CHANNELS or len(image.size) != 2:
        return False
    short, long = sorted(image.size)
    longest = _LONGEST_GREY_IMAGE if image.channels == 1 else _LONGEST_COLOUR_IMAGE
    return short >= _SHORTEST_SIDE and long / short <= longest

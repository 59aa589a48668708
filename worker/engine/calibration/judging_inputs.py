"""The calibration's inputs to judge an artifact by: held-out samples, or generated images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from worker.engine.calibration.fitting_images import FittingImages
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.model_inputs import Shapes
from worker.engine.calibration.inputs.photographs import is_photograph_shape
from worker.engine.calibration.inputs.probing import ProbedRanges
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.run_inputs import run_inputs
from worker.engine.calibration.quiet_outputs import are_quiet
from worker.engine.calibration.replay import Batch
from worker.engine.comparison_inputs import ComparisonInputs, Source
from worker.engine.model import TensorSpec
from worker.engine.program import Program
from worker.engine.verify import FEWEST_SAMPLES

MakeBatches = Callable[[Sequence[ValueRange], int, int], list[Batch]]
"""Returns at least `count` images in these ranges, from a seed."""

_SEED = 2
# Between the seeds of two ranges, so that they get different images.
_SEED_STEP = 100


@dataclass(frozen=True)
class JudgingInputs:
    """Batches to judge an artifact by; the members are those of `ComparisonInputs`."""

    source: Source
    groups: Mapping[str, tuple[Batch, ...]]
    doubts: tuple[str, ...] = ()
    like_truth: bool = True
    quiet: bool = False

    def checked(self, program: Program) -> "JudgingInputs":
        """Return these inputs, marked where the outputs of the model say little on all of them."""
        batches = [each[0] for each in self.groups.values()]
        return replace(self, quiet=are_quiet(program, batches))

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
        return ComparisonInputs(
            self.source, groups, self.doubts, self.like_truth, self.quiet
        )


def judging_by_samples(fitting: FittingImages, doubt: str | None) -> JudgingInputs:
    """Return the real samples that were held out, or without any the fitted ones.

    `doubt` says why the samples may be unlike real inputs.
    """
    doubts = [] if doubt is None else [doubt]
    count = fitting.report_members["held_out_samples"]
    if 0 < count < FEWEST_SAMPLES:
        doubts.append(
            f"{FEWEST_SAMPLES} held-out samples or more show errors well, and there are {count}"
        )
    if fitting.held_out:
        return JudgingInputs(
            "held-out samples", {"samples": tuple(fitting.held_out)}, tuple(doubts)
        )
    doubts.append(
        "too few samples were sent to hold any out: these are what the layers were fitted to"
    )
    return JudgingInputs(
        "fitted samples", {"samples": tuple(fitting.batches)}, tuple(doubts)
    )


def judging_by_generated(
    probed: ProbedRanges, harness: Harness, count: int, make_batches: MakeBatches
) -> JudgingInputs:
    """Return synthetic images in every plausible range, about `count` in all."""
    in_each = -(-count // len(probed.plausible))
    groups = {
        values.name: tuple(make_batches([values], in_each, _SEED + _SEED_STEP * at))
        for at, values in enumerate(probed.plausible)
    }
    doubts = [] if probed.doubt is None else [probed.doubt]
    strange = [
        image.name
        for image in harness.images
        if not is_photograph_shape(image.channels, image.size)
    ]
    if strange:
        names = ", ".join(strange)
        doubts.append(
            f"the inputs are no photographs as far as their shapes tell: {names}"
        )
    elif not harness.restores and any(image.channels == 1 for image in harness.images):
        doubts.append(
            "inputs of one channel may be pictures or spectrograms: the model does not tell"
        )
    return JudgingInputs("synthetic", groups, tuple(doubts), like_truth=not strange)

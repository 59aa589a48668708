"""How many images and steps an effort pays for, on one model."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from worker.engine.calibration.effort import Effort
from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.model_inputs import Shapes
from worker.engine.calibration.inputs.probing import probe
from worker.engine.calibration.inputs.ranges import ValueRange, known_ranges

# A step of distilling runs the model forward once and backward, which costs twice as much.
_RUNS_PER_STEP = 3
# Moments, their doubling and a refit, whose wide layers run more than once, cost about six runs
# of the model; sites before ReLUs cost more.
_RUNS_PER_IMAGE = 6
# Programs compute in float32.
_BYTES_PER_NUMBER = 4


@dataclass(frozen=True)
class Allowance:
    """The numbers of images and steps that an effort pays for.

    `sample_macs` is the cost of one image at the size at which the harness runs it.
    """

    harness: Harness
    sample_macs: int
    effort: Effort

    @classmethod
    def of(
        cls, harness: Harness, macs: int, shapes: Shapes, effort: Effort
    ) -> "Allowance":
        """Return the allowance of a model that costs `macs` on inputs of these shapes."""
        name = harness.images[0].name
        shape = harness.shapes[name]
        # MACs are in proportion to the numbers of the input.
        numbers = prod(shape)
        original_numbers = prod(shapes[name])
        share = numbers / original_numbers
        sample_macs = round(macs * share / shape[0])
        return cls(harness, max(1, sample_macs), effort)

    @property
    def measured_images(self) -> int:
        """Images to measure and fit on, where none are distilled."""
        return self._images(_RUNS_PER_IMAGE * self.sample_macs)

    def distilled_images(self, steps: int) -> int:
        """Return the number of images that can be distilled by `steps`."""
        affordable = self._images(_RUNS_PER_STEP * max(steps, 1) * self.sample_macs)
        return min(affordable, self.effort.most_distilled)

    def distilling_runs(self, work: int, steps: int) -> float:
        """Return the runs of the model for each image that is distilled by `steps`.

        `work` is the number of images times steps, of those to judge by too.
        """
        return _RUNS_PER_STEP * work / self.distilled_images(steps)

    @property
    def held_out_images(self) -> int:
        """Images in each held-out set: at most half of those that could be fitted on."""
        affordable = self._images(2 * _RUNS_PER_IMAGE * self.sample_macs)
        return min(self.effort.held_out_images, affordable)

    def plain_images(self, distilled: int) -> int:
        """Return the number of plain images to add to the distilled ones.

        None where the model stores statistics, which plain images do not have.
        """
        if self.harness.program.normalises:
            return 0
        enough = min(self.effort.images_beside_distilled, self.measured_images)
        return max(0, enough - distilled)

    @property
    def probe_images(self) -> int:
        """Images to try each of the known value ranges on."""
        channels = self.harness.images[0].channels
        ranges = len(known_ranges(channels))
        affordable = self.measured_images // ranges
        images = min(self.effort.probe_images, affordable)
        return max(self.effort.fewest_probe_images, images)

    def distilling_steps(self, ranges: Sequence[ValueRange]) -> int:
        """Return the number of steps; 0 where nothing guides them or too few are affordable."""
        affordable = self.affordable_steps
        if self.harness.gradient_input is None or not affordable:
            return 0
        if self.harness.program.normalises:
            return min(self.effort.steps_by_statistics, affordable)
        answer = probe(self.harness, dead_leaves, ranges[0], 1)
        # Without classes there is no direction in which images become more real.
        if answer.scores is None:
            return 0
        return min(self.effort.steps_by_classes, affordable)

    @property
    def affordable_steps(self) -> int:
        """Steps of distilling the fewest images; 0 where too few are affordable."""
        step_macs = _RUNS_PER_STEP * self.effort.fewest_distilled * self.sample_macs
        steps = self.effort.image_macs // step_macs
        if steps >= self.effort.fewest_steps:
            return steps
        return 0

    @property
    def _enough_images(self) -> int:
        """Images that the model deserves: more for a larger one."""
        deserved = self.sample_macs // self.effort.macs_per_image
        return min(self.effort.most_images, max(self.effort.images_of_small, deserved))

    def _images(self, macs_each: int) -> int:
        """Return the number of images that fit the memory and the work at this cost."""
        numbers = sum(
            prod(self.harness.shapes[name][1:]) for name in self.harness.image_names
        )
        in_memory = self.effort.image_bytes // (_BYTES_PER_NUMBER * numbers)
        affordable = self.effort.image_macs // macs_each
        images = min(self._enough_images, in_memory, affordable)
        return max(self.effort.fewest_images, images)

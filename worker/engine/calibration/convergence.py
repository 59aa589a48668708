"""Plain synthetic images, doubled in number until the covariances measured on them converge."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.inputs.distiller import Tell
from worker.engine.calibration.inputs.generators import Generator
from worker.engine.calibration.inputs.mixture import from_all_ranges
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.statistics.batchnorm_statistics import (
    Statistics,
    reestimate_statistics,
    with_statistics,
)
from worker.engine.calibration.statistics.covariance import (
    Geometries,
    MeasuredMoments,
    MomentRecorder,
)
from worker.engine.numerics.convolution import Array
from worker.engine.numerics.moments import Moments

# Between the seeds of two rounds, so that they get different images.
_SEED_STEP = 10

Sketches = Mapping[str, Array]
"""Each site's covariance times some random directions, by the site's name."""


def measure_until_converged(
    allowance: Allowance,
    generator: Generator,
    ranges: Sequence[ValueRange],
    convolutions: Geometries,
    tell: Tell,
) -> tuple[list[Batch], MeasuredMoments]:
    """Return images and the moments on them.

    The number of images doubles until no covariance changes by more than the effort's
    `convergence`, or no more images are affordable.
    """
    effort = allowance.effort
    most = allowance.measured_images
    growing = _GrowingMeasurement(allowance, generator, ranges, convolutions)
    # Where the first images cannot be doubled, all of them are measured at once.
    growing.add(most if most < 2 * effort.first_images else effort.first_images, seed=0)
    last: Sketches = {}
    for turn in itertools.count(1):
        images = growing.images
        if images >= most:
            break
        now = growing.sketches()
        if last and relative_change(last, now) < effort.convergence:
            break
        tell(images / most)
        last = now
        growing.add(min(2 * images, most) - images, seed=_SEED_STEP * turn)
    return growing.batches, growing.finish()


class _GrowingMeasurement:
    """Synthetic images and the moments on them, to which further images can be added.

    A model that stores statistics gets those of the images. They change with every image, and with
    them all activations, so that all images are measured anew.
    """

    def __init__(
        self,
        allowance: Allowance,
        generator: Generator,
        ranges: Sequence[ValueRange],
        convolutions: Geometries,
    ) -> None:
        self.batches: list[Batch] = []
        self._harness = allowance.harness
        self._effort = allowance.effort
        self._generator = generator
        self._ranges = ranges
        self._convolutions = convolutions
        self._statistics: Statistics = {}
        # The smallest number of images that can converge gives all rows that are needed.
        enough = min(allowance.measured_images, 2 * self._effort.first_images)
        self._recorder = self._new_recorder(max(1, enough // self._harness.batch))

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.batches) * self._harness.batch

    def add(self, count: int, seed: int) -> None:
        """Make images, at least `count`, and measure them."""
        program = self._harness.program
        more = from_all_ranges(
            self._harness, self._generator, self._ranges, count, seed
        )
        self.batches += more
        if program.normalises:
            held_bytes = self._effort.held_bytes
            self._statistics = reestimate_statistics(program, self.batches, held_bytes)
            self._recorder = self._new_recorder(len(self.batches))
            more = self.batches
        self._recorder.add(with_statistics(program, self._statistics), more)

    def sketches(self) -> Sketches:
        """Return the current sketches."""
        return sketch_all(self._recorder, self._effort.sketch_directions)

    def finish(self) -> MeasuredMoments:
        """Return the moments; nothing can be added any more."""
        return MeasuredMoments(self._recorder.finish(), self._statistics)

    def _new_recorder(self, batches: int) -> MomentRecorder:
        """Return a recorder that gets all its rows from this number of batches."""
        return MomentRecorder(self._convolutions, batches, self._effort)


def sketch_all(recorder: MomentRecorder, directions: int) -> dict[str, Array]:
    """Return the sketch of every site's covariance.

    The change of a sketch estimates that of the covariance at a fraction of its memory.
    """
    return {site: _sketch(moments, directions) for site, moments in recorder.moments()}


def _sketch(moments: Moments, directions: int) -> Array:
    """Return the covariance times random signs, `(groups, m, directions)`."""
    assert moments.held is not None  # measured moments have covariances
    size = moments.mean.shape[-1]
    columns = min(size, directions)
    shape = (size, columns)
    random = np.random.default_rng(0)
    choices = np.array([-1, 1], np.float32)
    signs = random.choice(choices, shape)
    return moments.held.times(signs)


def relative_change(before: Sketches, now: Sketches) -> float:
    """Return the largest relative change of any site's covariance, by the sketches."""
    changes = [0.0]
    for site, sketch in now.items():
        size = float(np.linalg.norm(sketch))
        if site in before and size > 0:
            change = sketch - before[site]
            difference = float(np.linalg.norm(change))
            changes.append(difference / size)
    return max(changes)

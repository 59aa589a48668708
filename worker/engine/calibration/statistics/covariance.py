"""The moments of every site's inputs, summed over batches of which none is held."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.engine.calibration.effort import Effort
from worker.engine.calibration.replay import Batch
from worker.engine.calibration.statistics.batchnorm_statistics import Statistics
from worker.engine.calibration.statistics.patch_sums import PatchSums
from worker.engine.calibration.statistics.row_sample import sample_rows
from worker.engine.numerics import memory
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.moments import Moments
from worker.engine.numerics.patches import rows
from worker.engine.program import Program, Step, StepError, run

Geometries = Mapping[str, Convolution]
"""The geometry of each site, by the site's name."""


@dataclass(frozen=True)
class MeasuredMoments:
    """The moments by site, and the BatchNorm statistics that they were measured with.

    `batchnorm` is empty where the model's stored statistics were used.
    """

    by_site: Mapping[str, Moments]
    batchnorm: Statistics


def measure_moments(
    program: Program,
    batches: Sequence[Batch],
    convolutions: Geometries,
    effort: Effort,
) -> Mapping[str, Moments]:
    """Return the moments of the sites whose geometry is given, over all their calls.

    Sites whose inputs are not all finite are left out.

    Raises:
        StepError: the program does not run on these batches.
    """
    recorder = MomentRecorder(convolutions, len(batches), effort)
    recorder.add(program, batches)
    return recorder.finish()


class MomentRecorder:
    """Sums over every site's patches, to which further batches can be added."""

    def __init__(self, convolutions: Geometries, batches: int, effort: Effort) -> None:
        """Record sites of these geometries; `batches` of them give all rows that are needed."""
        self._convolutions = convolutions
        self._batches = batches
        self._effort = effort
        self._sums = {
            site: PatchSums(convolution) for site, convolution in convolutions.items()
        }
        self._done = 0

    @torch.no_grad()
    def add(self, program: Program, batches: Sequence[Batch]) -> None:
        """Run a program on batches.

        Raises:
            StepError: the program does not run on them, or takes no batches.
        """
        for batch in batches:
            run(program, batch, watch=self._watch)
            memory.give_back_growth()
            self._done += 1

    def _watch(self, step: Step, inputs: Sequence[Any]) -> None:
        """Add a step's input rows to the sums of its site."""
        # Otherwise the mapped weights of all earlier layers stay in memory.
        memory.give_back_files()
        if step.site is None or step.site not in self._convolutions:
            return
        convolution = self._convolutions[step.site]
        x = inputs[0]
        axes = len(convolution.kernel)
        if axes and x.dim() == 1 + axes:
            raise StepError(f"{step.op} takes one sample, without the axis of a batch")
        # The batch's number is the seed: equal batches give different rows.
        positions = sample_rows(convolution, x, self._batches, self._done, self._effort)
        patches = rows(convolution, x, positions)
        self._sums[step.site].add(patches)

    def moments(self) -> Iterator[tuple[str, Moments]]:
        """Yield the current moments, site after site."""
        return (
            (site, sums.moments()) for site, sums in self._sums.items() if sums.count
        )

    def finish(self) -> Mapping[str, Moments]:
        """Return the moments of all sites whose inputs are finite, and free the sums.

        The sums of a site take as much memory as its moments.
        """
        moments = {}
        for site in list(self._sums):
            sums = self._sums.pop(site)
            if sums.count:
                moments[site] = sums.moments()
        return {site: each for site, each in moments.items() if _is_finite(each)}


def _is_finite(moments: Moments) -> bool:
    """Whether all numbers of the covariance are finite; those of the mean then are too."""
    return moments.held is not None and moments.held.is_finite()

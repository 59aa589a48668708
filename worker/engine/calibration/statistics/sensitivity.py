"""The share of each site's error that arrives at the model's outputs, measured by making errors."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.chains import Chain
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.replay import Batch, spread
from worker.engine.calibration.statistics.class_directions import (
    LastLayer,
    last_layer,
    last_site,
)
from worker.engine.calibration.statistics.output_error import OutputError
from worker.engine.numerics.convolution import Layer
from worker.engine.numerics.moments import Moments
from worker.engine.program import Program
from worker.engine.selection.candidates import Candidate, SiteCandidates

# Relative errors that a trial should make: those of common budgets.
_TARGET_ERRORS = (0.02, 0.08)
_TRIALS = len(_TARGET_ERRORS)
# A smaller error drowns in rounding.
_LEAST_ERROR = 1e-6
# The logarithm of 0 is not finite.
_LEAST_SHARE = 1e-6
# No site counts for less than this share of the median: an error that alone would hardly arrive
# does so where a tight budget makes all sites err.
_LEAST_OF_MEDIAN = 0.75


@dataclass(frozen=True)
class Trial:
    """A chain that could take a site's place, and the relative error of the site's outputs with it.

    `layers` makes the chain when it is tried: those of all sites together would take the memory of
    several models.
    """

    layers: Callable[[], Chain]
    error: float


def trials(
    site: SiteCandidates, layer: Callable[[], Layer], moments: Moments | None
) -> tuple[Trial, ...]:
    """Return two trials of a site, with errors near 2 and 8 % of its outputs' energy.

    `layer` returns the site's own layer. A site without inexact candidates has no trials.
    """
    inexact = [
        candidate for candidate in site.candidates if candidate.error > _LEAST_ERROR
    ]
    if not inexact:
        return ()
    nearest = [_nearest(inexact, error) for error in _TARGET_ERRORS]
    return tuple(
        Trial(partial(_layers, candidate, layer, moments), candidate.error)
        for candidate in nearest
    )


def _nearest(candidates: Sequence[Candidate], error: float) -> Candidate:
    """Return the candidate whose error is nearest, as a ratio."""

    def distance(candidate: Candidate) -> float:
        """Return the distance on a logarithmic scale."""
        return abs(math.log(candidate.error / error))

    return min(candidates, key=distance)


def _layers(
    candidate: Candidate, layer: Callable[[], Layer], moments: Moments | None
) -> Chain:
    """Return a candidate's chain in a layer's place."""
    return candidate.layers(layer(), moments)


def sensitivities(
    calibration: Calibration,
    trials_by_site: Mapping[str, Sequence[Trial]],
    layer_of: Callable[[str], Layer],
    effort: Effort = DEFAULT_EFFORT,
    tell: Callable[[float], object] = lambda _: None,
) -> dict[str, float]:
    """Return the relative error of the model's outputs over that of the site's outputs, by site.

    It is the geometric mean over the site's trials, on some of the held-out inputs: the inputs that
    the trials were fitted to do not show what a site loses of other inputs. A classifier's last
    layer counts for more by its `excess` error on classes. Deep models are tried once a site,
    and on few images. Nothing is returned where even that would take more work than the effort
    allows. `layer_of` returns a site's own layer. `tell` receives the share of the sites that are
    tried.
    """
    sites = sum(1 for site_trials in trials_by_site.values() if site_trials)
    batches, trials_each = _affordable(calibration, sites, effort)
    if not batches:
        return {}
    judged = calibration.judged_program
    output_error = OutputError(judged, batches, effort.held_bytes)
    positions = _first_positions(judged)
    end = last_site(calibration.program)
    last: LastLayer | None = None
    if end is not None and trials_by_site.get(end):
        layer = layer_of(end)
        last = last_layer(calibration.program, batches, end, layer)
    shares = {}
    in_order = sorted(trials_by_site, key=positions.__getitem__)
    for done, site in enumerate(in_order):
        tell(done / len(in_order))
        logs = []
        for trial in trials_by_site[site][-trials_each:]:
            chain = trial.layers()
            position = positions[site]
            error = output_error.of_site(position, {site: chain})
            relative = error / trial.error
            share = max(relative, _LEAST_SHARE)
            if last is not None and site == end:
                share = share * last.excess(chain)
            logs.append(math.log(share))
        if logs:
            mean_log = sum(logs) / len(logs)
            shares[site] = math.exp(mean_log)
    return _raised(shares)


def _first_positions(program: Program) -> defaultdict[str, int]:
    """Return the position of each site's first call; behind the last step where there is none."""
    positions: defaultdict[str, int] = defaultdict(lambda: len(program.steps))
    for position, step in enumerate(program.steps):
        if step.site is not None:
            positions.setdefault(step.site, position)
    return positions


def _affordable(
    calibration: Calibration, sites: int, effort: Effort
) -> tuple[list[Batch], int]:
    """Return held-out batches on which all sites can be tried, and how often each of them.

    There is no batch where nothing is affordable.
    """
    images = 0
    for trials_each in range(_TRIALS, 0, -1):
        image_macs = trials_each * sites * calibration.sample_macs
        images = effort.sensitivity_macs // max(image_macs, 1)
        batches = images // calibration.batch
        if batches:
            number = min(effort.sensitivity_batches, batches)
            return spread(calibration.held_out, number), trials_each
    # the model may be bound to a batch size
    whole = images // calibration.smallest_batch * calibration.smallest_batch
    return _cut(calibration, whole), 1


def _cut(calibration: Calibration, images: int) -> list[Batch]:
    """Return the first images of a held-out batch as a batch; none for no images."""
    if not images:
        return []
    first, *_ = calibration.held_out
    # inputs that are no images are the same in every batch
    cut = {name: first[name] for name in first}
    for name in calibration.image_names:
        cut[name] = first[name][:images]
    return [cut]


def _raised(shares: Mapping[str, float]) -> dict[str, float]:
    """Return the shares, none of them below 3/4 of the median."""
    if not shares:
        return {}
    median = statistics.median(shares.values())
    least = _LEAST_OF_MEDIAN * median
    return {site: max(share, least) for site, share in shares.items()}

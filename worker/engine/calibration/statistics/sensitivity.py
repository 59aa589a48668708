"""How much of an error at a site arrives at the model's outputs, measured by making such an error."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.replay import spread
from worker.engine.calibration.statistics.class_directions import last_layer, last_site
from worker.engine.calibration.statistics.output_error import Judge
from worker.engine.numerics.convolution import Layer
from worker.engine.numerics.moments import Moments
from worker.engine.selection.candidates import Candidate, SiteCandidates

_ERRORS = (0.02, 0.08)
_LEAST_ERROR, _LEAST_SHARE = 1e-6, 1e-6
_LEAST_OF_MEDIAN = 0.75
_MOST_BATCHES = 4
_WORK = 300_000_000_000


@dataclass(frozen=True)
class Trial:
    """What makes layers that could take a site's place, and the relative error of the site's outputs that they make.

    They are made when they are tried: those of all sites together would take the memory of several models.
    """

    layers: Callable[[], tuple[Layer, ...]]
    error: float


def trials(
    site: SiteCandidates, layer: Callable[[], Layer], moments: Moments | None
) -> tuple[Trial, ...]:
    """Return two trials of a site, of errors near 2 and 8 % of its outputs' energy; `layer` gives its weights."""
    inexact = [candidate for candidate in site.candidates if candidate.error > _LEAST_ERROR]
    if not inexact:
        return ()
    near = [
        min(inexact, key=lambda candidate: abs(math.log(candidate.error / wanted)))
        for wanted in _ERRORS
    ]
    return tuple(
        Trial(partial(_layers, candidate, layer, moments), candidate.error) for candidate in near
    )


def _layers(
    candidate: Candidate, layer: Callable[[], Layer], moments: Moments | None
) -> tuple[Layer, ...]:
    return candidate.layers(layer(), moments)


def sensitivities(
    calibration: Calibration, tried: Mapping[str, Sequence[Trial]], layer_of: Callable[[str], Layer]
) -> dict[str, float]:
    """Return, by site, the relative error of the model's outputs over that of the site's; `layer_of` gives what it was.

    It is the geometric mean over the site's trials, on some of the held-out inputs: those that the trials were fitted
    to do not show what a site leaves out of others. A classifier's last layer counts for as much more as its trials are
    worse on its classes than on these inputs. Nothing where even one batch would take more work than allowed. No site
    counts for less than 3/4 of the median: an error that alone would hardly arrive does so where a tight budget makes
    all sites err.
    """
    runs = sum(map(len, tried.values())) * calibration.sample_macs * calibration.batch
    batches = spread(calibration.held_out, min(_MOST_BATCHES, _WORK // max(runs, 1)))
    if not batches:
        return {}
    judge = Judge(calibration.program, batches)
    end = last_site(calibration.program)
    last = (
        last_layer(calibration.program, batches, end, layer_of(end))
        if end is not None and tried.get(end)
        else None
    )
    found = {}
    for site, several in tried.items():
        logs = []
        for trial in several:
            layers = trial.layers()
            share = max(judge.error({site: layers}) / trial.error, _LEAST_SHARE)
            logs.append(
                math.log(share * last.excess(layers) if last is not None and site == end else share)
            )
        if logs:
            found[site] = math.exp(sum(logs) / len(logs))
    least = _LEAST_OF_MEDIAN * statistics.median(found.values()) if found else 0.0
    return {site: max(share, least) for site, share in found.items()}

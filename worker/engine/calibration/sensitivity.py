"""How much of an error at a site arrives at the model's outputs, measured by making such an error."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.calibrate import Calibration
from worker.engine.calibration.distil import class_scores
from worker.engine.calibration.execute import execute
from worker.engine.calibration.refit import Chains, chain
from worker.engine.calibration.walk import Batch
from worker.engine.candidates import Offer
from worker.engine.convolution import Layer
from worker.engine.moments import Moments
from worker.engine.program import Program, StepError

_ERRORS = (0.02, 0.08)
_LEAST_ERROR, _LEAST_SHARE = 1e-6, 1e-6
_LEAST_OF_MEDIAN = 0.75
_MOST_BATCHES = 2
_WORK = 300_000_000_000


@dataclass(frozen=True)
class Trial:
    """Layers that could take a site's place, and the relative error of the site's outputs that they make."""

    layers: tuple[Layer, ...]
    error: float


def trials(offer: Offer, layer: Layer, moments: Moments | None) -> tuple[Trial, ...]:
    """Return two trials of a site, of errors near 2 and 8 % of its outputs' energy."""
    inexact = [candidate for candidate in offer.candidates if candidate.error > _LEAST_ERROR]
    if not inexact:
        return ()
    near = [min(inexact, key=lambda candidate: abs(math.log(candidate.error / wanted))) for wanted in _ERRORS]
    return tuple(Trial(candidate.layers(layer, moments), candidate.error) for candidate in near)


def sensitivities(calibration: Calibration, tried: Mapping[str, Sequence[Trial]]) -> dict[str, float]:
    """Return, by site, the relative error of the model's outputs over that of the site's.

    It is the geometric mean over the site's trials, on some of the calibration's inputs; nothing where even one batch
    of them would take more work than allowed. No site counts for less than 3/4 of the median: an error that alone
    would hardly arrive does so where a tight budget makes all sites err.
    """
    runs = sum(map(len, tried.values())) * calibration.sample_macs * calibration.batch
    batches = calibration.batches[: min(_MOST_BATCHES, _WORK // max(runs, 1))]
    if not batches:
        return {}
    found = {}
    for site, several in tried.items():
        logs = [
            math.log(max(output_error(calibration.program, batches, {site: trial.layers}) / trial.error, _LEAST_SHARE))
            for trial in several
        ]
        if logs:
            found[site] = math.exp(sum(logs) / len(logs))
    least = _LEAST_OF_MEDIAN * statistics.median(found.values()) if found else 0.0
    return {site: max(share, least) for site, share in found.items()}


@torch.no_grad()
def output_error(program: Program, batches: Sequence[Batch], chains: Chains) -> float:
    """Return the squared error of all floating-point outputs over their variance about the mean sample.

    A classifier's outputs are compared as logarithms of probabilities, about their mean: what softmax flattens counts.
    Where the original gives NaN or infinity nothing is compared. All is lost of numbers that the replaced sites make
    such of, of outputs that they change the shape of, and where they keep the program from running.
    """
    replaced = {site: lambda x, layers=layers: chain(layers, x) for site, layers in chains.items()}
    difference = energy = 0.0
    for batch in batches:
        wanted = execute(program, batch, {})
        try:
            given = execute(program, batch, replaced)
        except StepError:
            given = (None,) * len(wanted)
        for a, b in zip(_comparable(wanted), _comparable(given), strict=True):
            if isinstance(a, Tensor) and a.is_floating_point():
                usable = a.isfinite()
                exact = a.double().where(usable, 0)
                other = b.double().nan_to_num(0, 0, 0) if isinstance(b, Tensor) and b.shape == a.shape else 0
                difference += float((exact - other).where(usable, 0).square().sum())
                middle = exact.mean(0) if exact.dim() and len(exact) > 1 else exact.mean()
                energy += float((exact - middle).where(usable, 0).square().sum())
    return difference / energy if energy > 0 else difference


def _comparable(outputs: Sequence[Any]) -> Sequence[Any]:
    scores = class_scores(outputs, len(outputs[0])) if isinstance(outputs[0], Tensor) and outputs[0].dim() > 1 else None
    return outputs if scores is None else [scores - scores.mean(1, keepdim=True)]

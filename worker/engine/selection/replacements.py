"""The layers that replace the chosen sites: factored by their inputs' moments, then refitted."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from worker.engine.model import Model, Site
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Layer
from worker.engine.phase_weights import factoring_work
from worker.engine.progress import shares_before
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.channels.narrowed import Narrowed
from worker.engine.selection.input_statistics import Uncalibrated, moments_of

if TYPE_CHECKING:
    from worker.engine.calibration.refit.select_refit import RefitChoice

Replacements = Mapping[str, tuple[Layer, ...]]
"""The layers that take each factored site's place, by the site's name."""


def factor(
    model: Model,
    analysis: Analysis,
    choice: Sequence[Candidate],
    tell: Callable[[float], object] = lambda _: None,
) -> Replacements:
    """Return the layers of every factored site, by the moments of its inputs.

    `tell` receives the share of the work that is done.
    """
    replacements = {}
    factored = _factored(analysis, choice)
    shares = shares_before([factoring_work(site.weight_shape) for site, _ in factored])
    for share, (site, candidate) in zip(shares, factored, strict=True):
        tell(share)
        moments = moments_of(analysis.calibration, site)
        replacements[site.name] = candidate.layers(model.layer(site), moments)
    return replacements


def refit_replacements(
    model: Model,
    analysis: Analysis,
    choice: Sequence[Candidate],
    replacements: Replacements,
    tell: Callable[[float], object] = lambda _: None,
) -> "tuple[Replacements, RefitChoice | None]":
    """Return the layers after a refit and its choice, which is None without a calibration.

    `tell` receives the share of the refit that is done.
    """
    if isinstance(analysis.calibration, Uncalibrated) or not replacements:
        return replacements, None
    from worker.engine.calibration.refit.refit import Origin
    from worker.engine.calibration.refit.select_refit import select_refit

    # the refit reads a site's weights when it comes to it: all at once would double the memory
    origins = {}
    for site, candidate in _factored(analysis, choice):
        origins[site.name] = Origin(partial(model.layer, site), candidate.layers)
    with device.computing():
        refit_choice = select_refit(
            analysis.calibration, replacements, origins, tell=tell
        )
    return refit_choice.chains, refit_choice


def _factored(
    analysis: Analysis, choice: Sequence[Candidate]
) -> list[tuple[Site, Candidate]]:
    pairs = zip(analysis.sites, choice, strict=True)
    return [(site, candidate) for site, candidate in pairs if _has_layers(candidate)]


def _has_layers(candidate: Candidate) -> bool:
    """Whether a candidate has other layers than its site, but for the outputs that it loses."""
    form = candidate.factorisation
    if isinstance(form, Narrowed):
        form = form.inner
    return form is not None

"""What a model may become at any budget: calibrated once, every site's candidates, and what their errors weigh.

A second budget on the same model starts here: `choose` is a matter of milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from contract.calibration import choose_calibration, parse_calibration, parse_input_values
from contract.refusal import Code, Refusal
from worker.engine import analysis_file
from worker.engine.allocate import BudgetUnreachableError, Option, allocate
from worker.engine.candidates import ORIGINAL, Candidate, Offer, offer_all, offer_rank, original_only
from worker.engine.convolution import Convolution, Layer
from worker.engine.flops import FLOPS_PER_MAC
from worker.engine.formats import Count, Model, Site
from worker.engine.moments import Moments
from worker.engine.progress import Progress
from worker.engine.request import Request

if TYPE_CHECKING:  # torch, which takes a second to import, is for calibrating alone where the model is ONNX
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.refine import Refinement

_FRONTIER_STEPS = 40
_MOST_NUMBERS = 4608
"""In a patch: 512 channels of 3 x 3, whose covariance takes 170 MB. Wider sites are factored by their weights alone."""
UNCHANGED = "the budget allows the model as it is"


@dataclass(frozen=True)
class Analysis:
    """The offers of all sites, what their errors weigh by site, and the calibration, or in words why there is none."""

    offers: tuple[Offer, ...]
    weights: Mapping[str, float]
    calibration: "Calibration | str"
    reused: bool = False
    """Whether another job has made it."""

    @property
    def macs(self) -> int:
        """What the original costs."""
        return sum(offer.site.macs for offer in self.offers)

    def predicted_error(self, chosen: Sequence[Candidate]) -> float:
        """Return the relative error of the outputs, squared, to which the sites' errors add up."""
        pairs = zip(self.offers, chosen, strict=True)
        return sum(candidate.error * self.weights.get(offer.site.name, 1.0) for offer, candidate in pairs)

    def moments(self, site: Site) -> Moments | None:
        """Return the moments of a site's inputs; None where they are not known."""
        return _moments(self.calibration, site)


def analyse(
    request: Request, model: Model, shapes: Mapping[str, tuple[int, ...]], count: Count, progress: Progress
) -> Analysis:
    """Calibrate a model as the request says, and offer every site's candidates; or read all that, if it was kept.

    Raises:
        Refusal: what the request says of calibration cannot be.
    """
    kept = analysis_file.read(Path(request.analysis), model, count) if request.analysis is not None else None
    if kept is not None:
        progress.enter("allocating")
        return Analysis(*kept, reused=True)
    made = _analyse(request, model, shapes, count, progress)
    if request.kept_analysis is not None:
        path, largest = Path(request.kept_analysis), request.largest_analysis
        analysis_file.write(made.offers, made.weights, made.calibration, path, largest)
    return made


def _analyse(
    request: Request, model: Model, shapes: Mapping[str, tuple[int, ...]], count: Count, progress: Progress
) -> Analysis:
    progress.enter("measuring")
    calibration = _calibrate(request, model, shapes, count)
    progress.enter("factoring")
    offers = []
    for done, site in enumerate(count.sites):
        progress.within(done, len(count.sites))
        if request.rank is not None:
            offers.append(offer_rank(model, site, request.form or "dac", request.rank, _moments(calibration, site)))
        else:
            offers.append(offer_all(model, site, request.form, _moments(calibration, site)))
    progress.enter("allocating")
    return Analysis(tuple(offers), _weights(model, offers, calibration), calibration)


def leave(count: Count) -> Analysis:
    """Offer every site as it is."""
    return Analysis(tuple(original_only(site, UNCHANGED) for site in count.sites), {}, UNCHANGED)


def choose(analysis: Analysis, allowed: int | None) -> list[Candidate]:
    """Choose one candidate a site, that cost at most `allowed` MACs together; None chooses the last of every offer.

    Raises:
        Refusal: `budget_unreachable`.
    """
    if allowed is None:  # one rank everywhere: each offer has that rank alone besides the original
        return [offer.candidates[-1] for offer in analysis.offers]
    total = analysis.macs
    try:
        choices = allocate(_options(analysis), allowed)
    except BudgetUnreachableError as error:
        raise Refusal(
            Code.BUDGET_UNREACHABLE,
            f"the least that this model can be brought to is {error.least / total:.4f} of its FLOPs",
            field="flops_budget",
            expected=f"at least {error.least / total:.4f}, or {FLOPS_PER_MAC * error.least} FLOPs",
            got=f"{allowed / total:.4f}, or {FLOPS_PER_MAC * allowed} FLOPs",
        ) from error
    return [offer.candidates[choice] for offer, choice in zip(analysis.offers, choices, strict=True)]


def frontier(analysis: Analysis) -> list[tuple[int, float]]:
    """Return (MACs, predicted error) at budgets from the least that can be reached to the original's cost."""
    options = _options(analysis)
    least = sum(min(option.macs for option in site) for site in options)
    points: dict[int, float] = {}
    for step in range(_FRONTIER_STEPS + 1):
        budget = least + (analysis.macs - least) * step // _FRONTIER_STEPS
        choices = allocate(options, budget)
        chosen = [offer.candidates[choice] for offer, choice in zip(analysis.offers, choices, strict=True)]
        points[sum(candidate.macs for candidate in chosen)] = analysis.predicted_error(chosen)
    return sorted(points.items())


def factor(
    model: Model, analysis: Analysis, chosen: Sequence[Candidate]
) -> tuple[Mapping[str, tuple[Layer, ...]], "Refinement | None"]:
    """Return the layers that take each factored site's place, and how they were refined where they were."""
    chains = {
        offer.site.name: candidate.layers(model.layer(offer.site), analysis.moments(offer.site))
        for offer, candidate in zip(analysis.offers, chosen, strict=True)
        if candidate.form != ORIGINAL
    }
    if isinstance(analysis.calibration, str) or not chains:
        return chains, None
    from worker.engine.calibration.refine import refine

    refinement = refine(analysis.calibration, chains)
    return refinement.chains, refinement


def _options(analysis: Analysis) -> list[list[Option]]:
    return [
        [
            Option(candidate.macs, candidate.error * analysis.weights.get(offer.site.name, 1.0))
            for candidate in offer.candidates
        ]
        for offer in analysis.offers
    ]


def _calibrate(
    request: Request, model: Model, shapes: Mapping[str, tuple[int, ...]], count: Count
) -> "Calibration | str":
    """Calibrate as the request says; return in words why not, where that is not asked for or not possible."""
    kind = choose_calibration(parse_calibration(request.calibration), samples=request.samples is not None)
    told = parse_input_values(request.input_range, request.input_mean, request.input_std)
    if kind == "none":
        return "none was asked for"
    from worker.engine.calibration.calibrate import WeakCalibrationError, calibrate
    from worker.engine.calibration.samples_file import read_samples

    samples = None if request.samples is None else read_samples(Path(request.samples), model.inputs, shapes)

    convolutions = {
        site.name: site.convolution
        for site in count.sites
        if site.reason is None and site.convolution is not None and _is_measurable(site.convolution)
    }
    try:
        return calibrate(model, shapes, convolutions, count.macs, told, samples)
    except WeakCalibrationError as error:
        return str(error)


def _is_measurable(convolution: Convolution) -> bool:
    """Whether the moments of its patches are defined and fit into memory: they grow with the square of a patch."""
    return not convolution.transposed and prod(convolution.weight_shape[1:]) <= _MOST_NUMBERS


def _moments(calibration: "Calibration | str", site: Site) -> Moments | None:
    return None if isinstance(calibration, str) else calibration.observation.moments.get(site.name)


def _weights(model: Model, offers: Sequence[Offer], calibration: "Calibration | str") -> Mapping[str, float]:
    """Return what share of each site's error arrives at the outputs; nothing where the model was not calibrated."""
    if isinstance(calibration, str):
        return {}
    from worker.engine.calibration.sensitivity import sensitivities, trials

    tried = {
        offer.site.name: trials(offer, model.layer(offer.site), _moments(calibration, offer.site))
        for offer in offers
        if len(offer.candidates) > 1
    }
    return sensitivities(calibration, tried)

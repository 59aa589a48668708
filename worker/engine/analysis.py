"""What a model may become at any budget: calibrated once, every site's candidates, and what their errors weigh.

A second budget on the same model starts here: `choose` is a matter of milliseconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from contract.budget import FIELD, LATENCY_FIELD
from contract.calibration import choose_calibration, parse_calibration, parse_input_values
from contract.refusal import Code, Refusal
from worker.engine import analysis_file
from worker.engine.allocate import BudgetUnreachableError, Option, allocate
from worker.engine.candidates import ORIGINAL, Candidate, Offer, offer_all, offer_rank, original_only
from worker.engine.convolution import Convolution, Layer
from worker.engine.costs.table import CostTable
from worker.engine.flops import FLOPS_PER_MAC
from worker.engine.formats import Count, Model, Site
from worker.engine.moments import Moments
from worker.engine.progress import Progress
from worker.engine.request import Request

if TYPE_CHECKING:  # torch, which takes a second to import, is for calibrating alone where the model is ONNX
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.refine import Refinement

Unit = Literal["macs", "nanoseconds"]
"""What a budget counts."""

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
    table: CostTable | None = None
    """What the layers' times were looked up in."""
    reused: bool = False
    """Whether another job has made it."""

    @property
    def macs(self) -> int:
        """What the original costs."""
        return sum(offer.site.macs for offer in self.offers)

    @property
    def nanoseconds(self) -> int | None:
        """What the original's sites take by the table, as far as they have a price there; None without a table."""
        return None if self.table is None else _time(offer.candidates[0] for offer in self.offers)

    def predicted_error(self, chosen: Sequence[Candidate]) -> float:
        """Return the relative error of the outputs, squared, to which the sites' errors add up."""
        pairs = zip(self.offers, chosen, strict=True)
        return sum(candidate.error * self.weights.get(offer.site.name, 1.0) for offer, candidate in pairs)

    def moments(self, site: Site) -> Moments | None:
        """Return the moments of a site's inputs; None where they are not known."""
        return _moments(self.calibration, site)


def analyse(
    request: Request,
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    count: Count,
    progress: Progress,
    table: CostTable | None = None,
) -> Analysis:
    """Calibrate a model as the request says, and offer every site's candidates; or read all that, if it was kept.

    Raises:
        Refusal: what the request says of calibration cannot be.
    """
    kept = analysis_file.read(Path(request.analysis), model, count, table) if request.analysis is not None else None
    if kept is not None:
        progress.enter("allocating")
        return Analysis(*kept, table, reused=True)
    made = _analyse(request, model, shapes, count, progress, table)
    if request.kept_analysis is not None:
        path, largest = Path(request.kept_analysis), request.largest_analysis
        analysis_file.write(made.offers, made.weights, made.calibration, path, largest)
    return made


def _analyse(
    request: Request,
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    count: Count,
    progress: Progress,
    table: CostTable | None,
) -> Analysis:
    progress.enter("measuring")
    calibration = _calibrate(request, model, shapes, count)
    progress.enter("factoring")
    offers = []
    for done, site in enumerate(count.sites):
        progress.within(done, len(count.sites))
        moments = _moments(calibration, site)
        if request.rank is not None:
            offers.append(offer_rank(model, site, request.form or "dac", request.rank, moments, table))
        else:
            offers.append(offer_all(model, site, request.form, moments, table))
    progress.enter("allocating")
    return Analysis(tuple(offers), _weights(model, offers, calibration), calibration, table)


def leave(count: Count, table: CostTable | None = None) -> Analysis:
    """Offer every site as it is."""
    return Analysis(tuple(original_only(site, UNCHANGED, table) for site in count.sites), {}, UNCHANGED, table)


def choose(
    analysis: Analysis, allowed: int | None, unit: Unit = "macs", *, at_any_price: bool = False
) -> list[Candidate]:
    """Choose one candidate a site, that cost at most `allowed` together; None chooses the last of every offer.

    Where there is a cost table no site becomes slower than it is, unless MACs are wanted at any price.

    Raises:
        Refusal: `budget_unreachable`.
    """
    if allowed is None:  # one rank everywhere: each offer has that rank alone besides the original
        return [offer.candidates[-1] for offer in analysis.offers]
    offered = _offered(analysis, unit, at_any_price=at_any_price)
    try:
        choices = allocate(_options(analysis, offered, unit), allowed)
    except BudgetUnreachableError as error:
        raise _unreachable(analysis, unit, error.least, allowed) from error
    return [candidates[choice] for candidates, choice in zip(offered, choices, strict=True)]


def _unreachable(analysis: Analysis, unit: Unit, least: int, allowed: int) -> Refusal:
    if unit == "nanoseconds":
        total = analysis.nanoseconds or 1
        what, field = "time, by the cost table", LATENCY_FIELD
        shown = [f"{cost / total:.4f}, or {cost / 1e6:.4f} ms" for cost in (least, allowed)]
    else:
        total = analysis.macs
        what, field = "FLOPs", FIELD
        shown = [f"{cost / total:.4f}, or {FLOPS_PER_MAC * cost} FLOPs" for cost in (least, allowed)]
    return Refusal(
        Code.BUDGET_UNREACHABLE,
        f"the least that this model can be brought to is {least / total:.4f} of its {what}",
        field=field,
        expected=f"at least {shown[0]}",
        got=shown[1],
    )


@dataclass(frozen=True)
class Point:
    """What another budget would give; `nanoseconds` by the table, None without one."""

    macs: int
    nanoseconds: int | None
    error: float


def frontier(analysis: Analysis, unit: Unit = "macs", *, at_any_price: bool = False) -> list[Point]:
    """Return what budgets would give from the least that can be reached to the original's cost, by their MACs."""
    offered = _offered(analysis, unit, at_any_price=at_any_price)
    options = _options(analysis, offered, unit)
    least = sum(min(option.cost for option in site) for site in options)
    most = sum(site[0].cost for site in options)
    points: dict[int, Point] = {}
    for step in range(_FRONTIER_STEPS + 1):
        choices = allocate(options, least + (most - least) * step // _FRONTIER_STEPS)
        chosen = [candidates[choice] for candidates, choice in zip(offered, choices, strict=True)]
        macs = sum(candidate.macs for candidate in chosen)
        time = None if analysis.table is None else _time(chosen)
        points[macs] = Point(macs, time, analysis.predicted_error(chosen))
    return [points[macs] for macs in sorted(points)]


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


def _offered(analysis: Analysis, unit: Unit, *, at_any_price: bool) -> list[list[Candidate]]:
    """Return each site's candidates that may be chosen, the original first: those that are no slower than it is."""
    if at_any_price and unit == "macs":
        return [list(offer.candidates) for offer in analysis.offers]
    return [
        [
            candidate
            for candidate in offer.candidates
            if candidate.form == ORIGINAL or _is_no_slower(candidate, offer.candidates[0], unit)
        ]
        for offer in analysis.offers
    ]


def _is_no_slower(candidate: Candidate, than: Candidate, unit: Unit) -> bool:
    if candidate.nanoseconds is None or than.nanoseconds is None:
        return unit == "macs"
    return candidate.nanoseconds <= than.nanoseconds


def _options(analysis: Analysis, offered: Sequence[Sequence[Candidate]], unit: Unit) -> list[list[Option]]:
    return [
        [
            Option(
                candidate.macs if unit == "macs" else candidate.nanoseconds or 0,
                candidate.error * analysis.weights.get(offer.site.name, 1.0),
            )
            for candidate in candidates
        ]
        for offer, candidates in zip(analysis.offers, offered, strict=True)
    ]


def _time(candidates: Iterable[Candidate]) -> int:
    return sum(candidate.nanoseconds or 0 for candidate in candidates)


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

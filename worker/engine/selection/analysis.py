"""What a model may become at any budget: calibrated once, every site's candidates, and what their errors weigh.

A second budget on the same model starts here: `choose` is a matter of milliseconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.budgets import FLOPS
from convpress.calibration import choose_calibration, parse_calibration, parse_input_values
from convpress.refusal import Code, Refusal
from worker.engine.costs.table import CostTable
from worker.engine.formats import adapter_of
from worker.engine.model import CostProfile, Model, Site, by_execution_path
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection import analysis_file
from worker.engine.selection.candidates import (
    ORIGINAL,
    Candidate,
    Offer,
    offer_all,
    offer_rank,
    original_only,
)
from worker.engine.selection.knapsack import BudgetUnreachableError, Knapsack, Option
from worker.engine.selection.units import Limit, amount_of

if (
    TYPE_CHECKING
):  # torch, which takes a second to import, is for calibrating alone where the model is ONNX
    from worker.engine.calibration.calibrate import Calibration, Tell
    from worker.engine.calibration.refit.select_refit import Refinement

_FRONTIER_STEPS = 40
_FRONTIER_STEPS_OF_SEVERAL = 10
"""Fewer where several budgets are to be met: each step takes several allocations."""
_MOST_NUMBERS = 4608
"""In a patch: 512 channels of 3 x 3, whose covariance takes 170 MB. Wider sites are factored by their weights alone."""
_MOST_REASONS = 3
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
        return self.spent(self.originals)

    def spent(self, chosen: Iterable[Candidate]) -> int:
        """Return the multiply-accumulates of a choice, along the course that costs most."""
        return max(by_execution_path(self.sites, [candidate.macs for candidate in chosen]))

    def time(self, chosen: Iterable[Candidate]) -> int | None:
        """Return what a choice's layers take by the table, as far as they have a price there; None without a table."""
        if self.table is None:
            return None
        return max(
            by_execution_path(self.sites, [candidate.nanoseconds or 0 for candidate in chosen])
        )

    @property
    def sites(self) -> list[Site]:
        """The sites, in the order of their offers."""
        return [offer.site for offer in self.offers]

    @property
    def originals(self) -> list[Candidate]:
        """What the sites are."""
        return [offer.candidates[0] for offer in self.offers]

    @property
    def nanoseconds(self) -> int | None:
        """What the original's sites take by the table, as far as they have a price there; None without a table."""
        return self.time(self.originals)

    def predicted_error(self, chosen: Sequence[Candidate]) -> float:
        """Return the relative error of the outputs, squared, to which the sites' errors add up."""
        pairs = zip(self.offers, chosen, strict=True)
        return sum(
            candidate.error * self.weights.get(offer.site.name, 1.0) for offer, candidate in pairs
        )

    def moments(self, site: Site) -> Moments | None:
        """Return the moments of a site's inputs; None where they are not known."""
        return _moments(self.calibration, site)

    def without_moments(self) -> "Analysis":
        """Return the analysis without what takes most of its memory and nothing needs once layers are factored."""
        if isinstance(self.calibration, str):
            return self
        observation = replace(self.calibration.observation, moments={})
        return replace(self, calibration=replace(self.calibration, observation=observation))


def analyse(
    request: Request,
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    count: CostProfile,
    progress: Progress,
    table: CostTable | None = None,
) -> Analysis:
    """Calibrate a model as the request says, and offer every site's candidates; or read all that, if it was kept.

    Raises:
        Refusal: what the request says of calibration cannot be.
    """
    kept = (
        analysis_file.read(Path(request.analysis), model, count, table)
        if request.analysis is not None
        else None
    )
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
    count: CostProfile,
    progress: Progress,
    table: CostTable | None,
) -> Analysis:
    progress.enter("measuring")
    calibration = _calibrate(request, model, shapes, count, lambda part: progress.within(part, 1))
    progress.enter("factoring")
    whole = table is not None or adapter_of(request.format).aligned_ranks
    offers = []
    for done, site in enumerate(count.sites):
        progress.within(done, len(count.sites))
        moments = _moments(calibration, site)
        if request.rank is not None:
            offers.append(
                offer_rank(model, site, request.form or "dac", request.rank, moments, table)
            )
        else:
            offers.append(offer_all(model, site, request.form, moments, table, whole=whole))
    progress.enter("allocating")
    return Analysis(tuple(offers), _weights(model, offers, calibration), calibration, table)


def leave(count: CostProfile, table: CostTable | None = None) -> Analysis:
    """Offer every site as it is."""
    return Analysis(
        tuple(original_only(site, UNCHANGED, table) for site in count.sites), {}, UNCHANGED, table
    )


def choose(
    analysis: Analysis, limits: Sequence[Limit] | None, *, at_any_price: bool = False
) -> list[Candidate]:
    """Choose one candidate a site, within all limits; None chooses the last of every offer.

    Where there is a cost table no site becomes slower than it is, unless MACs are wanted at any price.

    Raises:
        Refusal: `budget_unreachable`.
    """
    if limits is None:  # one rank everywhere: each offer has that rank alone besides the original
        return [offer.candidates[-1] for offer in analysis.offers]
    offered = _offered(analysis, limits, at_any_price=at_any_price)
    try:
        options = _options(analysis, offered, limits, at_any_price=at_any_price)
        choices = Knapsack(options).allocate(_budgets(analysis, limits))
    except BudgetUnreachableError as error:
        raise _unreachable(analysis, limits, error, at_any_price=at_any_price) from error
    return [candidates[choice] for candidates, choice in zip(offered, choices, strict=True)]


def _unreachable(
    analysis: Analysis,
    limits: Sequence[Limit],
    error: BudgetUnreachableError,
    *,
    at_any_price: bool,
) -> Refusal:
    if error.which is None:
        return Refusal(
            Code.BUDGET_UNREACHABLE,
            "each of the budgets can be met, but nothing was found that meets all of them",
            field=limits[-1].budget.kind.field,
            expected="larger budgets, or fewer",
            got=", ".join(f"{limit.budget.kind.field}={limit.budget.text}" for limit in limits),
        )
    limit = [limit for limit in limits for _ in range(_courses(analysis, limit))][error.which]
    least = error.least + limit.allowed - _left(analysis, limit)
    shown = [
        f"{cost / max(limit.total, 1):.4f}, or {amount_of(limit.unit, cost)}"
        for cost in (least, limit.allowed)
    ]
    by = ", by the cost table" if limit.unit == "nanoseconds" else ""
    if not by and not at_any_price and any(map(_has_slower, analysis.offers)):
        by = " without a layer that the cost table has as slower than it is, which flops_at_any_price would allow"
    return Refusal(
        Code.BUDGET_UNREACHABLE,
        f"the least that this model can be brought to is {least / max(limit.total, 1):.4f} "
        f"of its {limit.budget.kind.what}{by}{_left_alone(analysis)}",
        field=limit.budget.kind.field,
        expected=f"at least {shown[0]}",
        got=shown[1],
    )


def _left_alone(analysis: Analysis) -> str:
    """Say of how many layers nothing can be made, and why; nothing where there are none."""
    reasons = Counter(
        offer.reason for offer in analysis.offers if len(offer.candidates) == 1 and offer.reason
    )
    said = "; ".join(
        f"{number} because {reason}" for reason, number in reasons.most_common(_MOST_REASONS)
    )
    return (
        said
        and f" (of {len(analysis.offers)} layers {sum(reasons.values())} stay as they are: {said})"
    )


@dataclass(frozen=True)
class Point:
    """What another budget would give; `nanoseconds` by the table, None without one.

    `share` is what it keeps of the original in what the first budget counts.
    """

    macs: int
    nanoseconds: int | None
    share: float
    error: float


def frontier(
    analysis: Analysis, limits: Sequence[Limit] | None = None, *, at_any_price: bool = False
) -> list[Point]:
    """Return what budgets would give from the least that can be reached to the original's cost, the cheapest first.

    It is the first of the limits that varies, while the others hold; MACs alone where there are none.
    """
    limits = limits or [Limit.of(FLOPS.parse("100%"), analysis.macs)]
    offered = _offered(analysis, limits, at_any_price=at_any_price)
    options = _options(analysis, offered, limits, at_any_price=at_any_price)
    first, *others = limits
    execution_paths = _courses(analysis, first)
    least = max(
        sum(min(option.costs[course] for option in site) for site in options)
        for course in range(execution_paths)
    )
    most = first.spent(analysis.sites, analysis.originals)
    elsewhere = first.allowed - _left(analysis, first)  # what the rest of the model costs
    knapsack = Knapsack(options)
    steps = _FRONTIER_STEPS if not others else _FRONTIER_STEPS_OF_SEVERAL
    points: dict[int, Point] = {}
    for step in range(steps + 1):
        try:
            budget = least + (most - least) * step // steps
            choices = knapsack.allocate([budget] * execution_paths + _budgets(analysis, others))
        except BudgetUnreachableError:  # the least of the first is not the least of the others
            continue
        chosen = [candidates[choice] for candidates, choice in zip(offered, choices, strict=True)]
        cost = first.spent(analysis.sites, chosen)
        share = (elsewhere + cost) / max(first.total, 1)
        points[cost] = Point(
            analysis.spent(chosen), analysis.time(chosen), share, analysis.predicted_error(chosen)
        )
    return [points[cost] for cost in sorted(points)]


def factor(
    model: Model, analysis: Analysis, chosen: Sequence[Candidate]
) -> Mapping[str, tuple[Layer, ...]]:
    """Return the layers that take each factored site's place, by the moments of its inputs."""
    return {
        site.name: candidate.layers(model.layer(site), analysis.moments(site))
        for site, candidate in _factored(analysis, chosen)
    }


def refined(
    model: Model,
    analysis: Analysis,
    chosen: Sequence[Candidate],
    chains: Mapping[str, tuple[Layer, ...]],
) -> "tuple[Mapping[str, tuple[Layer, ...]], Refinement | None]":
    """Return the layers that were factored as a refit leaves them, and what it did where the model is calibrated."""
    if isinstance(analysis.calibration, str) or not chains:
        return chains, None
    from worker.engine.calibration.refit.refit import Origin
    from worker.engine.calibration.refit.select_refit import refine

    origins = {
        site.name: Origin(partial(model.layer, site), candidate.layers)
        for site, candidate in _factored(analysis, chosen)
    }
    with device.computing():
        refinement = refine(analysis.calibration, chains, origins)
    return refinement.chains, refinement


def _factored(analysis: Analysis, chosen: Sequence[Candidate]) -> list[tuple[Site, Candidate]]:
    pairs = zip(analysis.sites, chosen, strict=True)
    return [(site, candidate) for site, candidate in pairs if candidate.form != ORIGINAL]


def _offered(
    analysis: Analysis, limits: Sequence[Limit], *, at_any_price: bool
) -> list[list[Candidate]]:
    """Return each site's candidates that may be chosen, the original first: those that are no slower than it is."""
    in_time = any(limit.unit == "nanoseconds" for limit in limits)
    if at_any_price and not in_time:
        return [list(offer.candidates) for offer in analysis.offers]
    return [
        [
            candidate
            for candidate in offer.candidates
            if candidate.form == ORIGINAL
            or _is_no_slower(candidate, offer.candidates[0], unknown=not in_time)
        ]
        for offer in analysis.offers
    ]


def _has_slower(offer: Offer) -> bool:
    return any(
        not _is_no_slower(each, offer.candidates[0], unknown=True) for each in offer.candidates
    )


def _is_no_slower(candidate: Candidate, than: Candidate, *, unknown: bool) -> bool:
    """Whether a candidate takes no longer by the table; `unknown` where one of the two has no price there."""
    if candidate.nanoseconds is None or than.nanoseconds is None:
        return unknown
    return candidate.nanoseconds <= than.nanoseconds


def _options(
    analysis: Analysis,
    offered: Sequence[Sequence[Candidate]],
    limits: Sequence[Limit],
    *,
    at_any_price: bool,
) -> list[list[Option]]:
    """Return what may be chosen.

    Where there is a cost table, a share of the time is as dear as the same share of what the first budget counts.
    """
    first = limits[0]
    in_time = first.unit != "nanoseconds" and not at_any_price
    dear = first.total / analysis.nanoseconds if in_time and analysis.nanoseconds else 0.0
    return [
        [
            Option(
                tuple(cost for limit in limits for cost in limit.costs(offer.site, candidate)),
                candidate.error * analysis.weights.get(offer.site.name, 1.0),
                round(dear * (candidate.nanoseconds or offer.candidates[0].nanoseconds or 0)),
            )
            for candidate in candidates
        ]
        for offer, candidates in zip(analysis.offers, offered, strict=True)
    ]


def _budgets(analysis: Analysis, limits: Sequence[Limit]) -> list[int]:
    """Return what each limit leaves to the sites, once for every course that they cost something along."""
    return [
        left for limit in limits for left in [_left(analysis, limit)] * _courses(analysis, limit)
    ]


def _left(analysis: Analysis, limit: Limit) -> int:
    return limit.left_to(analysis.sites, analysis.originals)


def _courses(analysis: Analysis, limit: Limit) -> int:
    """Return in how many costs a limit counts what a candidate costs."""
    return max(
        (len(limit.costs(offer.site, offer.candidates[0])) for offer in analysis.offers), default=1
    )


def _calibrate(
    request: Request,
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    count: CostProfile,
    tell: "Tell",
) -> "Calibration | str":
    """Calibrate as the request says; return in words why not, where that is not asked for or not possible."""
    kind = choose_calibration(
        parse_calibration(request.calibration), samples=request.samples is not None
    )
    told = parse_input_values(request.input_range, request.input_mean, request.input_std)
    if kind == "none":
        return "none was asked for"
    from worker.engine.calibration.calibrate import calibrate
    from worker.engine.calibration.harness import WeakCalibrationError
    from worker.engine.calibration.inputs.samples_file import read_samples

    samples = (
        None
        if request.samples is None
        else read_samples(Path(request.samples), model.inputs, shapes)
    )

    convolutions = {
        site.name: site.convolution
        for site in count.sites
        if site.reason is None and site.convolution is not None and _is_measurable(site.convolution)
    }
    reason = ""
    for name in dict.fromkeys(
        (device.chosen(), device.PROCESSOR)
    ):  # which some of what models make themselves lies on
        device.choose(name)
        try:
            with device.computing():
                return calibrate(model, shapes, convolutions, count.macs, told, samples, tell)
        except WeakCalibrationError as error:
            reason = str(error)
    return reason


def _is_measurable(convolution: Convolution) -> bool:
    """Whether the moments of its patches fit into memory: they grow with the square of a patch."""
    return convolution.patch <= _MOST_NUMBERS


def _moments(calibration: "Calibration | str", site: Site) -> Moments | None:
    return None if isinstance(calibration, str) else calibration.observation.moments.get(site.name)


def _weights(
    model: Model, offers: Sequence[Offer], calibration: "Calibration | str"
) -> Mapping[str, float]:
    """Return what share of each site's error arrives at the outputs; nothing where the model was not calibrated."""
    if isinstance(calibration, str):
        return {}
    from worker.engine.calibration.statistics.sensitivity import sensitivities, trials

    tried = {
        offer.site.name: trials(
            offer, partial(model.layer, offer.site), _moments(calibration, offer.site)
        )
        for offer in offers
        if len(offer.candidates) > 1
    }
    sites = {offer.site.name: offer.site for offer in offers}
    with device.computing():
        return sensitivities(calibration, tried, lambda name: model.layer(sites[name]))

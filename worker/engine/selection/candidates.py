"""What each site may become: itself, or one of its forms at one rank, with the cost and the error of each."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import numpy as np

from convpress.refusal import Code, Refusal
from worker.engine.costs.table import EVEN, CostTable
from worker.engine.decompose import FORMS, Factorisation, Rank, Target
from worker.engine.model import Model, Site
from worker.engine.numerics import memory
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments, unknown
from worker.engine.selection.layout import layout_of, nanoseconds

ORIGINAL = "original"
"""The form of a site that is left as it is."""
_WIDE = 16
"""Channels of a layer from which on runtimes gain by taking them in blocks, and a few ranks are no great loss."""
_DEAREST = 0.9
"""The largest share of the original's cost at which several layers are worth having in its place."""


@dataclass(frozen=True)
class Candidate:
    """One thing that a site may become: a factorisation at one rank, or the original, for which both are None.

    It holds no weights; `layers` computes them. `numbers` is how many there are. `nanoseconds` is what it takes by the
    cost table, None where there is no table, or no price in it for one of the layers.
    """

    macs: int
    numbers: int
    error: float
    factorisation: Factorisation | None = None
    rank: Rank | None = None
    nanoseconds: int | None = None

    @property
    def form(self) -> str:
        """The form's name."""
        return ORIGINAL if self.factorisation is None else self.factorisation.form

    @property
    def variant(self) -> str | None:
        """What the form leaves open but the rank, in a few words."""
        return None if self.factorisation is None else self.factorisation.variant

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The geometry of the layers that take the site's place; none where it stays."""
        if self.factorisation is None or self.rank is None:
            return ()
        return self.factorisation.convolutions(self.rank)

    def layers(self, layer: Layer, moments: Moments | None = None) -> tuple[Layer, ...]:
        """Return the layers that take a layer's place, fitted to its inputs' moments."""
        if self.factorisation is None or self.rank is None:
            return (layer,)
        return self.factorisation.layers(_target(layer, moments), self.rank)


@dataclass(frozen=True)
class Offer:
    """A site's candidates, the original first; `reason` says why that one is alone, if it is."""

    site: Site
    candidates: tuple[Candidate, ...]
    reason: str | None


def require_form(form: str | None, rank: int | None) -> None:
    """Check what the user asked for by name.

    Raises:
        Refusal: `form_invalid` for a form that does not exist or a rank below 1.
    """
    if form is not None and form not in FORMS:
        raise Refusal(
            Code.FORM_INVALID, "no such form", field="form", expected=" or ".join(FORMS), got=form
        )
    if rank is not None and rank < 1:
        raise Refusal(
            Code.FORM_INVALID,
            "a rank is positive",
            field="rank",
            expected="at least 1",
            got=str(rank),
        )


def offer_all(
    model: Model,
    site: Site,
    form: str | None,
    moments: Moments | None = None,
    table: CostTable | None = None,
    *,
    whole: bool = False,
) -> Offer:
    """Offer a site's every form (or the one that is named) at the ranks that cost markedly less than the original.

    Without the moments of the site's inputs the weights count alone. Candidates that cost no less than another, in
    arithmetic, in numbers and in time where there is a table, and are no nearer are left out; and with `whole`, where a
    layer is wide, ranks that runtimes do not take whole: they take as long as the next one of those does, or longer.
    """
    names = FORMS if form is None else (form,)
    layer = _factorable(model, site, names)
    if isinstance(layer, str):
        return original_only(site, layer, table)
    target = _target(layer, moments)
    found = []
    for each in factorisations(site, names):
        found += _cheaper(site, each, target)
        memory.give_back()
    if (
        whole
        and min(target.layer.convolution.in_channels, target.layer.convolution.out_channels)
        >= _WIDE
    ):
        found = [candidate for candidate in found if _is_whole(candidate)]
    kept = _worthwhile(found) if table is None else _worthwhile_in_time(site, found, table)
    reason = None if kept else "no rank costs markedly less than the original"
    return Offer(site, (original(site, table), *kept), reason)


def offer_rank(
    model: Model,
    site: Site,
    form: str,
    rank: int,
    moments: Moments | None = None,
    table: CostTable | None = None,
) -> Offer:
    """Offer a site in one form at one rank alone, its highest where that is lower; the paper's mode.

    A form of two ranks has this one on both sides. Of a form's variants it is the cheapest, and among equals the
    nearest.
    """
    layer = _factorable(model, site, (form,))
    if isinstance(layer, str):
        return original_only(site, layer, table)
    priced = [
        (*costs(site, each)(_nearest(each, rank)), each) for each in factorisations(site, (form,))
    ]
    cheapest = min(macs for macs, _, _ in priced)
    target = _target(layer, moments)
    choices = []
    for macs, numbers, each in priced:
        if macs == cheapest:
            own_rank = _nearest(each, rank)
            choices.append(
                Candidate(macs, numbers, float(each.errors(target, [own_rank])[0]), each, own_rank)
            )
    nearest = priced_in_time(site, min(choices, key=lambda candidate: candidate.error), table)
    return Offer(site, (original(site, table), nearest), None)


def original_only(site: Site, reason: str, table: CostTable | None = None) -> Offer:
    """Offer a site as it is."""
    return Offer(site, (original(site, table),), reason)


def _target(layer: Layer, moments: Moments | None) -> Target:
    return Target.of(layer, unknown(layer.convolution) if moments is None else moments)


def original(site: Site, table: CostTable | None = None) -> Candidate:
    """Return what a site is already."""
    return priced_in_time(site, Candidate(site.macs, prod(site.weight_shape), 0.0), table)


def priced_in_time(site: Site, candidate: Candidate, table: CostTable | None) -> Candidate:
    """Return a candidate with what it takes by the table, over all calls of the site."""
    if table is None or site.convolution is None:
        return candidate
    layers = candidate.convolutions or (site.convolution,)
    return replace(
        candidate, nanoseconds=nanoseconds(site, layers, table, layout_of(site, layers, table))
    )


def _factorable(model: Model, site: Site, names: Iterable[str]) -> Layer | str:
    """Return a site's layer, or say why no form of these applies to it, each reason once."""
    if site.reason is not None:
        return site.reason
    if site.convolution is None:
        return f"{site.op} is no convolution"
    reasons = [FORMS[name].why_not(site.convolution) for name in names]
    if None not in reasons:
        return "; ".join(dict.fromkeys(reason for reason in reasons if reason))
    layer = model.layer(site)
    rows = layer.weight.reshape(len(layer.weight), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        energy = np.vecdot(rows, rows).sum()
    return layer if np.isfinite(energy) else "its weights are NaN, infinite or too large to square"


def factorisations(site: Site, names: Iterable[str] = FORMS) -> Iterator[Factorisation]:
    """Yield what the forms of these names make of a site, which has to be a convolution."""
    assert site.convolution is not None  # `_factorable` has asked
    for name in names:
        if FORMS[name].why_not(site.convolution) is None:
            yield from FORMS[name].factorisations(site.convolution)


def _cheaper(site: Site, factorisation: Factorisation, target: Target) -> list[Candidate]:
    """Return the candidates of one factorisation that cost markedly less than the original, in MACs or in numbers."""
    cost = costs(site, factorisation)
    most_macs, most_numbers = _DEAREST * site.macs, _DEAREST * prod(site.weight_shape)
    cheap = {
        rank: (macs, numbers)
        for rank, (macs, numbers) in ((rank, cost(rank)) for rank in factorisation.ranks)
        if macs <= most_macs or numbers <= most_numbers
    }
    errors = factorisation.errors(target, list(cheap))
    return [
        Candidate(*spent, float(error), factorisation, rank)
        for (rank, spent), error in zip(cheap.items(), errors, strict=True)
    ]


def _worthwhile(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return those than which no other is as cheap in arithmetic, as small and as near, the cheapest first."""
    kept: list[Candidate] = []
    nearest: list[
        tuple[int, float]
    ] = []  # by numbers, ascending: the least error of those that are no larger
    for candidate in sorted(candidates, key=lambda each: (each.macs, each.error, each.numbers)):
        at = bisect_right(nearest, (candidate.numbers, inf))
        if at and nearest[at - 1][1] <= candidate.error:
            continue
        kept.append(candidate)
        end = next(
            (end for end in range(at, len(nearest)) if nearest[end][1] < candidate.error),
            len(nearest),
        )
        nearest[at:end] = [(candidate.numbers, candidate.error)]
    return kept


def _worthwhile_in_time(
    site: Site, candidates: Sequence[Candidate], table: CostTable
) -> list[Candidate]:
    """Return what is worth its arithmetic and what is worth its time, the cheapest in arithmetic first."""
    cheap = [priced_in_time(site, candidate, table) for candidate in _worthwhile(candidates)]
    timed = [priced_in_time(site, candidate, table) for candidate in candidates]
    quick: list[Candidate] = []
    known = [candidate for candidate in timed if candidate.nanoseconds is not None]
    for candidate in sorted(
        known, key=lambda candidate: (candidate.nanoseconds, candidate.error, candidate.macs)
    ):
        if not quick or candidate.error < quick[-1].error:
            quick.append(candidate)
    kept = {
        (candidate.form, candidate.variant, candidate.rank): candidate
        for candidate in (*cheap, *quick)
    }
    return sorted(kept.values(), key=lambda candidate: (candidate.macs, candidate.error))


def _is_whole(candidate: Candidate) -> bool:
    """Whether runtimes take the channels between a candidate's layers in whole, or there is no fewer that they do."""
    between = [layer.out_channels for layer in candidate.convolutions[:-1]]
    return all(number % EVEN == 0 or number < EVEN for number in between)


def costs(site: Site, factorisation: Factorisation) -> Callable[[Rank], tuple[int, int]]:
    """Return what tells, by rank, the multiply-accumulates of a factorisation in a site's place and its numbers."""

    def counted(rank: Rank) -> tuple[int, int]:
        convolutions = factorisation.convolutions(rank)
        return site.macs_of(convolutions), sum(prod(each.weight_shape) for each in convolutions)

    if not isinstance(factorisation.ranks[-1], int):
        return counted
    macs, numbers = counted(1)

    def proportional(rank: Rank) -> tuple[int, int]:
        assert isinstance(rank, int)
        return rank * macs, rank * numbers

    return proportional


def _nearest(factorisation: Factorisation, rank: int) -> Rank:
    """Return a rank on every side, the highest where that is lower."""
    highest = factorisation.ranks[-1]
    return (
        min(rank, highest)
        if isinstance(highest, int)
        else (min(rank, highest[0]), min(rank, highest[1]))
    )

"""What each site may become: itself, or one of its forms at one rank, with the cost and the error of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from contract.refusal import Code, Refusal
from worker.engine.convolution import Layer
from worker.engine.decompose import FORMS
from worker.engine.formats import Model, Site

ORIGINAL = "original"
"""The form of a site that is left as it is."""


@dataclass(frozen=True)
class Candidate:
    """One thing that a site may become; `layers` computes its weights, and is None for the original."""

    form: str
    rank: int | None
    macs: int
    error: float
    layers: Callable[[], tuple[Layer, ...]] | None


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
        raise Refusal(Code.FORM_INVALID, "no such form", field="form", expected=" or ".join(FORMS), got=form)
    if rank is not None and rank < 1:
        raise Refusal(Code.FORM_INVALID, "a rank is positive", field="rank", expected="at least 1", got=str(rank))


def offer_all(model: Model, site: Site, form: str | None) -> Offer:
    """Offer a site's every form (or the one that is named) at every rank that costs less than the original."""
    return _offer(model, site, lambda candidate: candidate.macs < site.macs and form in (None, candidate.form))


def offer_rank(model: Model, site: Site, form: str, rank: int) -> Offer:
    """Offer a site in one form at one rank alone, its highest where that is lower; the paper's mode."""
    everything = _offer(model, site, lambda candidate: candidate.form == form)
    original, *ranks = everything.candidates
    kept = ranks[min(rank, len(ranks)) - 1 :][:1] if ranks else []
    return Offer(site, (original, *kept), everything.reason)


def _offer(model: Model, site: Site, wanted: Callable[[Candidate], bool]) -> Offer:
    original = Candidate(ORIGINAL, None, site.macs, 0.0, None)
    reasons = [site.reason] if site.reason else [reason for reason in _why_not(site) if reason]
    if site.reason or len(reasons) == len(FORMS):
        return Offer(site, (original,), "; ".join(reasons))
    candidates = [candidate for candidate in _candidates(model.layer(site), site) if wanted(candidate)]
    return Offer(site, (original, *candidates), None if candidates else "no rank costs less than the original")


def _why_not(site: Site) -> Sequence[str | None]:
    if site.convolution is None:
        return [f"{site.op} is no convolution"] * len(FORMS)
    return [why_not(site.convolution) for why_not, _ in FORMS.values()]


def _candidates(layer: Layer, site: Site) -> list[Candidate]:
    found = []
    for form, (why_not, factor) in FORMS.items():
        if why_not(layer.convolution):
            continue
        factorisation = factor(layer)
        for rank in factorisation.ranks:
            macs = site.macs_of(factorisation.convolutions(rank))
            error = float(factorisation.errors[rank - 1])
            layers = partial(factorisation.layers, rank)
            found.append(Candidate(form, rank, macs, error, layers))
    return found

"""The candidates of one site: every form at the ranks that are worth having, or one rank alone."""

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np

from convpress.formats import Format
from convpress.refusal import Code, Refusal
from worker.engine.costs.kinds import EVEN
from worker.engine.costs.table import CostTable
from worker.engine.decompose import FORMS, Factorisation, Rank, Target
from worker.engine.model import Model, Site
from worker.engine.numerics import memory
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments
from worker.engine.selection.candidate_costs import cost_of_rank, original, with_time
from worker.engine.selection.candidates import Candidate, SiteCandidates, target_of
from worker.engine.selection.few_channels import is_slower
from worker.engine.selection.pareto import pareto_front, pareto_front_with_time, union

_WIDE = 16
"""The fewest channels that runtimes gain by computing in blocks.

Layers with as many channels have many ranks: leaving some out is no great loss.
"""
_HIGHEST_SHARE = 0.9
"""The largest share of the original's cost at which several layers are worth having instead."""


def require_form(form: str | None, rank: int | None) -> None:
    """Check the form and the rank of a request.

    Raises:
        Refusal: `form_invalid` for an unknown form or a rank below 1.
    """
    if form is not None and form not in FORMS:
        names = " or ".join(FORMS)
        raise Refusal(
            Code.FORM_INVALID, "no such form", field="form", expected=names, got=form
        )
    if rank is not None and rank < 1:
        raise Refusal(
            Code.FORM_INVALID,
            "a rank is positive",
            field="rank",
            expected="at least 1",
            got=str(rank),
        )


def candidates_of_forms(
    model: Model,
    site: Site,
    form: str | None,
    moments: Moments | None = None,
    table: CostTable | None = None,
    *,
    aligned: bool = False,
    model_format: Format | None = None,
) -> SiteCandidates:
    """Return a site's candidates of every form, or of `form` alone, that cost markedly less.

    Without the moments of the site's inputs the weights count alone. Candidates that another one
    beats in cost and error are left out. With `aligned`, ranks of a wide layer that runtimes pad to
    the next block are left out too: they take as long as that block, or longer. Without a table but
    with a `model_format`, the front of the candidates that are not known to be slower is added.
    """
    names = FORMS if form is None else (form,)
    # the weights are read only where a form applies: reading takes time and memory
    reason = _why_not(site, names)
    if reason is not None:
        return original_only(site, reason, table)
    layer = model.layer(site)
    if not is_finite(layer):
        return original_only(site, _NOT_FINITE, table)
    target = target_of(layer, moments)
    candidates = []
    for factorisation in factorisations(site, names):
        candidates += _cheaper(site, factorisation, target)
        # each factorisation leaves large free blocks in the heap
        memory.give_back_growth()
    if aligned and is_wide(layer.convolution):
        candidates = [candidate for candidate in candidates if _is_aligned(candidate)]
    front = _front(site, candidates, table, model_format)
    no_gain = None if front else "no rank costs markedly less than the original"
    return SiteCandidates(site, (original(site, table), *front), no_gain)


def candidates_at_rank(
    model: Model,
    site: Site,
    form: str,
    rank: int,
    moments: Moments | None = None,
    table: CostTable | None = None,
) -> SiteCandidates:
    """Return a site's candidate of one form at one rank: the mode of the DAC paper.

    A rank above the form's highest is lowered to it. A form of two ranks has the same one on both
    sides. Of a form's variants the cheapest is chosen, and of equally cheap ones the nearest.
    """
    reason = _why_not(site, (form,))
    if reason is not None:
        return original_only(site, reason, table)
    layer = model.layer(site)
    if not is_finite(layer):
        return original_only(site, _NOT_FINITE, table)
    variants = list(factorisations(site, (form,)))
    costs = [cost_of_rank(site, each)(_clipped(each, rank)) for each in variants]
    cheapest = min(macs for macs, _ in costs)
    # errors are computed of the cheapest variants alone: each takes a factorisation
    target = target_of(layer, moments)
    candidates = []
    for factorisation, (macs, parameters) in zip(variants, costs, strict=True):
        if macs > cheapest:
            continue
        own_rank = _clipped(factorisation, rank)
        error = float(factorisation.errors(target, [own_rank])[0])
        candidates.append(Candidate(macs, parameters, error, factorisation, own_rank))
    nearest = min(candidates, key=lambda candidate: candidate.error)
    return SiteCandidates(
        site, (original(site, table), with_time(site, nearest, table)), reason=None
    )


def original_only(
    site: Site, reason: str, table: CostTable | None = None
) -> SiteCandidates:
    """Return the original as a site's only candidate, and the reason."""
    return SiteCandidates(site, (original(site, table),), reason)


def factorisations(site: Site, names: Iterable[str] = FORMS) -> Iterator[Factorisation]:
    """Yield the factorisations of a site, which must be a convolution, in the named forms."""
    assert site.convolution is not None  # `_why_not` has checked
    for name in names:
        if FORMS[name].why_not(site.convolution) is None:
            yield from FORMS[name].factorisations(site.convolution)


def _why_not(site: Site, names: Iterable[str]) -> str | None:
    """Say why none of these forms applies to a site, each reason once; None where one applies."""
    if site.reason is not None:
        return site.reason
    if site.convolution is None:
        return f"{site.op} is not a convolution"
    reasons = []
    for name in names:
        reason = FORMS[name].why_not(site.convolution)
        if reason is None:
            return None
        reasons.append(reason)
    return "; ".join(dict.fromkeys(reasons))


_NOT_FINITE = "its weights are NaN, infinite or too large to square"


def is_finite(layer: Layer) -> bool:
    """Whether the energy of a layer's weights is a number."""
    rows = layer.weight.reshape(len(layer.weight), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        energy = np.vecdot(rows, rows).sum()
    return bool(np.isfinite(energy))


def _cheaper(
    site: Site, factorisation: Factorisation, target: Target
) -> list[Candidate]:
    """Return a factorisation's candidates with markedly fewer MACs or weights than the original."""
    cost = cost_of_rank(site, factorisation)
    most_macs = _HIGHEST_SHARE * site.macs
    most_parameters = _HIGHEST_SHARE * prod(site.weight_shape)
    ranks: list[Rank] = []
    costs: list[tuple[int, int]] = []
    for rank in factorisation.ranks:
        macs, parameters = cost(rank)
        if macs <= most_macs or parameters <= most_parameters:
            ranks.append(rank)
            costs.append((macs, parameters))
    errors: Sequence[float] = factorisation.errors(target, ranks).tolist()
    rows = zip(costs, errors, ranks, strict=True)
    return [
        Candidate(macs, parameters, error, factorisation, rank)
        for (macs, parameters), error, rank in rows
    ]


def _front(
    site: Site,
    candidates: Sequence[Candidate],
    table: CostTable | None,
    model_format: Format | None,
) -> list[Candidate]:
    front = _without_rule(site, candidates, table)
    if model_format is None:
        return front
    # a slower candidate, which may not be chosen, hides no other one
    no_slower = [
        each
        for each in candidates
        if not is_slower(site, each.convolutions, model_format)
    ]
    return union(front, _without_rule(site, no_slower, table))


def _without_rule(
    site: Site, candidates: Sequence[Candidate], table: CostTable | None
) -> list[Candidate]:
    if table is None:
        return pareto_front(candidates)
    return pareto_front_with_time(site, candidates, table)


def is_wide(convolution: Convolution) -> bool:
    """Whether runtimes compute a layer in blocks of channels."""
    return min(convolution.in_channels, convolution.out_channels) >= _WIDE


def _is_aligned(candidate: Candidate) -> bool:
    """Whether the channels between a candidate's layers fill whole blocks of runtimes.

    Fewer channels than one block count as aligned: there is no smaller number that is.
    """
    between = [layer.out_channels for layer in candidate.convolutions[:-1]]
    return all(channels % EVEN == 0 or channels < EVEN for channels in between)


def _clipped(factorisation: Factorisation, rank: int) -> Rank:
    """Return the rank on every side, or the highest rank of a side where that is lower."""
    highest = factorisation.ranks[-1]
    if isinstance(highest, int):
        return min(rank, highest)
    return min(rank, highest[0]), min(rank, highest[1])

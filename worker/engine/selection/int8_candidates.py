"""Candidates in int8: each site as it is, or factored into dense layers, with a quarter of bytes.

Layers of forms with groups stay in float: in int8 ONNX Runtime takes longer for them than in float.

Where a layer in int8 meets one in float, a tensor is converted. What that costs a site depends on
its neighbours, which are chosen at the same time. So there are two prices, and both are upper
bounds: either the sites in float pay for all conversions around them, or those in int8 do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from worker.engine.costs.int8_prices import conversion_nanoseconds, in_blocks
from worker.engine.costs.table import CostTable
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.candidates import ORIGINAL, Candidate, SiteCandidates
from worker.engine.selection.layout import nanoseconds

WhyNot = Callable[[Sequence[Convolution]], str | None]
"""Returns why layers stay in float; None where int8 applies."""


def with_int8(
    analysis: Analysis,
    losses: Mapping[str, float],
    why_not: WhyNot,
    *,
    int8_converts: bool = False,
) -> Analysis:
    """Return an analysis whose candidates are there in int8 as well, where int8 applies.

    `losses` are the relative errors of the model's outputs with one site in int8 alone, by the
    site's name; a site without one stays in float. Each layer in a site's place rounds its inputs
    anew, so that the square of the loss counts once for each. With `int8_converts` the candidates
    in int8 pay for conversions, else those in float.
    """
    candidates = []
    for each in analysis.candidates:
        conversion = 0
        if analysis.table is not None:
            conversion = conversion_nanoseconds(each.site, analysis.table)
        paid_in_int8, paid_in_float = (
            (conversion, 0) if int8_converts else (0, conversion)
        )
        in_float = [
            replace(candidate, conversion=paid_in_float)
            for candidate in each.candidates
        ]
        loss = losses.get(each.site.name)
        in_int8: list[Candidate] = []
        if loss is not None and each.site.convolution is not None:
            in_int8 = [
                replace(
                    candidate_in_int8(each.site, own, loss, analysis.table),
                    conversion=paid_in_int8,
                )
                for own in each.candidates
                if _applies(each.site, own, why_not)
            ]
        candidates.append(SiteCandidates(each.site, (*in_float, *in_int8), each.reason))
    return replace(analysis, candidates=tuple(candidates))


def int8_alone(analysis: Analysis) -> list[Candidate]:
    """Return the choice of an analysis with int8 that factors nothing: int8 where it applies."""
    return list(map(_whole_in_int8, analysis.candidates))


def _whole_in_int8(candidates: SiteCandidates) -> Candidate:
    """Return a site as it is in int8, where that is among its candidates, else in float."""
    for own in candidates.candidates:
        if own.quantised and own.form == ORIGINAL:
            return own
    return candidates.original


def originals_in_int8(analysis: Analysis, why_not: WhyNot) -> list[Candidate]:
    """Return the sites as they are in int8, where it applies and has a price, else in float."""
    choice = []
    for each in analysis.candidates:
        own = each.original
        if each.site.convolution is not None and _applies(each.site, own, why_not):
            in_int8 = candidate_in_int8(each.site, own, 0.0, analysis.table)
            own = own if in_int8.nanoseconds is None else in_int8
        choice.append(own)
    return choice


def _applies(site: Site, candidate: Candidate, why_not: WhyNot) -> bool:
    """Whether a candidate's layers gain by int8."""
    if candidate.factorisation is None:
        assert site.convolution is not None  # the caller has checked
        return why_not([site.convolution]) is None
    return all(convolution.groups == 1 for convolution in candidate.convolutions) and (
        why_not(candidate.convolutions) is None
    )


def candidate_in_int8(
    site: Site, candidate: Candidate, loss: float, table: CostTable | None
) -> Candidate:
    """Return a candidate in int8, with its time by the table where that has int8 layers."""
    assert site.convolution is not None  # the caller has checked
    convolutions = candidate.convolutions or (site.convolution,)
    time = None
    if table is not None:
        blocks = [in_blocks(convolution) for convolution in convolutions]
        time = nanoseconds(site, blocks, table, "whole", int8=True)
    error = loss**2 * len(convolutions)
    return replace(candidate, nanoseconds=time, quantised=True, int8_error=error)

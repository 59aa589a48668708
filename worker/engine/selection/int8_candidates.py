"""Candidates in int8: each site as it is, or factored into dense layers, with a quarter of bytes.

Layers of forms with groups stay in float: in int8 ONNX Runtime takes longer for them than in float.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from worker.engine.costs.table import CostTable
from worker.engine.model import Site
from worker.engine.numerics.convolution import Convolution
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.layout import nanoseconds

WhyNot = Callable[[Sequence[Convolution]], str | None]
"""Returns why layers stay in float; None where int8 applies."""


def with_int8(analysis: Analysis, losses: Mapping[str, float], why_not: WhyNot) -> Analysis:
    """Return an analysis whose candidates are there in int8 as well, where int8 applies.

    `losses` are the relative errors of the model's outputs with one site in int8 alone, by the
    site's name; a site without one stays in float. Each layer in a site's place rounds its inputs
    anew, so that the square of the loss counts once for each.
    """
    candidates = []
    for each in analysis.candidates:
        loss = losses.get(each.site.name)
        if loss is None or each.site.convolution is None:
            candidates.append(each)
            continue
        in_int8 = [
            _in_int8(each.site, candidate, loss, analysis.table)
            for candidate in each.candidates
            if _applies(each.site, candidate, why_not)
        ]
        candidates.append(SiteCandidates(each.site, (*each.candidates, *in_int8), each.reason))
    return replace(analysis, candidates=tuple(candidates))


def _applies(site: Site, candidate: Candidate, why_not: WhyNot) -> bool:
    """Whether a candidate's layers gain by int8."""
    if candidate.factorisation is None:
        assert site.convolution is not None  # the caller has checked
        return why_not([site.convolution]) is None
    return all(convolution.groups == 1 for convolution in candidate.convolutions) and (
        why_not(candidate.convolutions) is None
    )


def _in_int8(site: Site, candidate: Candidate, loss: float, table: CostTable | None) -> Candidate:
    """Return a candidate in int8, with its time by the table where that has int8 layers."""
    assert site.convolution is not None  # the caller has checked
    convolutions = candidate.convolutions or (site.convolution,)
    time = None
    if table is not None:
        time = nanoseconds(site, convolutions, table, "whole", int8=True)
    error = loss**2 * len(convolutions)
    return replace(candidate, nanoseconds=time, quantised=True, int8_error=error)

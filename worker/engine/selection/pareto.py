"""Pareto fronts of a site's candidates: no other candidate is as cheap and as near."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from math import inf

from worker.engine.costs.table import CostTable
from worker.engine.model import Site
from worker.engine.selection.candidate_costs import with_time
from worker.engine.selection.candidates import Candidate


def pareto_front(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the Pareto front over (MACs, parameters, error), ordered by MACs."""
    front: list[Candidate] = []
    # (parameters, least error with no more of them): the first ascend, the second descend
    nearest: list[tuple[int, float]] = []
    for candidate in sorted(candidates, key=_by_macs):
        at = bisect_right(nearest, (candidate.parameters, inf))
        if at and nearest[at - 1][1] <= candidate.error:
            continue
        front.append(candidate)
        end = at
        while end < len(nearest) and nearest[end][1] >= candidate.error:
            end += 1
        nearest[at:end] = [(candidate.parameters, candidate.error)]
    return front


def pareto_front_with_time(
    site: Site, candidates: Sequence[Candidate], table: CostTable
) -> list[Candidate]:
    """Return the union of the Pareto fronts over cost and over (time, error), ordered by MACs."""
    cheap = [
        with_time(site, candidate, table) for candidate in pareto_front(candidates)
    ]
    timed = [with_time(site, candidate, table) for candidate in candidates]
    return union(cheap, _front_in_time(timed))


def union(*fronts: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates of several fronts, each once, ordered by MACs."""
    candidates = {}
    for candidate in chain.from_iterable(fronts):
        candidates[candidate.form, candidate.variant, candidate.rank] = candidate
    return sorted(candidates.values(), key=lambda each: (each.macs, each.error))


def _front_in_time(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the Pareto front over (time, error) of the candidates that have a price."""
    priced = [
        candidate for candidate in candidates if candidate.nanoseconds is not None
    ]
    front: list[Candidate] = []
    for candidate in sorted(priced, key=_by_time):
        if not front or candidate.error < front[-1].error:
            front.append(candidate)
    return front


def _by_macs(candidate: Candidate) -> tuple[int, float, int]:
    return candidate.macs, candidate.error, candidate.parameters


def _by_time(candidate: Candidate) -> tuple[int, float, int]:
    return candidate.nanoseconds or 0, candidate.error, candidate.macs

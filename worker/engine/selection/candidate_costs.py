"""The costs of a candidate in a site's place: multiply-accumulates, weights, and time."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

from worker.engine.costs.table import CostTable
from worker.engine.decompose import Factorisation, Rank
from worker.engine.model import Site
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.layout import layout_of, nanoseconds

CostOfRank = Callable[[Rank], tuple[int, int]]
"""Maps a rank to (MACs, parameters)."""


def cost_of_rank(site: Site, factorisation: Factorisation) -> CostOfRank:
    """Return a function from rank to (MACs, parameters) of a factorisation in a site's place."""

    def counted(rank: Rank) -> tuple[int, int]:
        convolutions = factorisation.convolutions(rank)
        parameters = sum(prod(each.weight_shape) for each in convolutions)
        return site.macs_of(convolutions), parameters

    if not isinstance(factorisation.ranks[-1], int):
        return counted
    macs, parameters = counted(1)

    # the cost of a single rank grows in proportion to it: counting thousands of ranks takes long
    def proportional(rank: Rank) -> tuple[int, int]:
        assert isinstance(rank, int)
        return rank * macs, rank * parameters

    return proportional


def original(site: Site, table: CostTable | None = None) -> Candidate:
    """Return the candidate that leaves a site as it is."""
    return with_time(site, Candidate(site.macs, prod(site.weight_shape), 0.0), table)


def with_time(site: Site, candidate: Candidate, table: CostTable | None) -> Candidate:
    """Return a candidate with its time by the table, over all calls of the site."""
    if table is None or site.convolution is None:
        return candidate
    # the original has no layers of its own: its time is that of the site's convolution
    convolutions = candidate.convolutions or (site.convolution,)
    layout = layout_of(site, convolutions, table)
    return replace(
        candidate, nanoseconds=nanoseconds(site, convolutions, table, layout)
    )

"""The candidates of a site that keep some of its input channels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.engine.costs.kinds import EVEN
from worker.engine.costs.table import CostTable
from worker.engine.decompose import Target
from worker.engine.decompose.channels import Channels
from worker.engine.model import Model, Site
from worker.engine.selection.candidate_costs import cost_of_rank, with_time
from worker.engine.selection.candidates import Candidate, SiteCandidates, target_of
from worker.engine.selection.channels.narrowed import can_lose_outputs
from worker.engine.selection.channels.paths import ChannelPath
from worker.engine.selection.enumeration import is_finite, is_wide
from worker.engine.selection.input_statistics import Uncalibrated, moments_of

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration

_MOST = 128
"""The most numbers of channels on offer at one site."""


def add_channels(
    model: Model,
    sites: Sequence[SiteCandidates],
    paths: Mapping[str, ChannelPath],
    statistics: "Calibration | Uncalibrated",
    table: CostTable | None,
    *,
    aligned: bool,
) -> list[SiteCandidates]:
    """Return the sites with candidates that keep some channels where a path leads to them.

    Candidates that cannot lose outputs are left out where a path begins.
    """
    producers = {path.producer for path in paths.values()}
    extended = []
    for each in sites:
        candidates = list(each.candidates)
        if each.site.name in producers:
            candidates = [one for one in candidates if _can_narrow(one)]
        if each.site.name in paths:
            moments = moments_of(statistics, each.site)
            layer = model.layer(each.site)
            if moments is not None and is_finite(layer):
                target = target_of(layer, moments)
                candidates += _with_fewer(each.site, target, table, aligned=aligned)
        extended.append(replace(each, candidates=tuple(candidates)))
    return extended


def _can_narrow(candidate: Candidate) -> bool:
    return not candidate.convolutions or can_lose_outputs(candidate.convolutions)


def _with_fewer(
    site: Site, target: Target, table: CostTable | None, *, aligned: bool
) -> list[Candidate]:
    """Return the candidates of a site with fewer channels, the fewest first."""
    assert site.convolution is not None  # a site of a path
    form = Channels.of(site.convolution)
    cost = cost_of_rank(site, form)
    ranks = list(form.ranks[:-1])
    if aligned and is_wide(site.convolution):
        ranks = [rank for rank in ranks if rank % EVEN == 0 or rank < EVEN]
    ranks = ranks[:: -(-len(ranks) // _MOST) or 1]
    candidates = []
    errors: Sequence[float] = form.errors(target, ranks).tolist()
    for rank, error in zip(ranks, errors, strict=True):
        macs, parameters = cost(rank)
        candidate = Candidate(macs, parameters, error, form, rank)
        candidates.append(with_time(site, candidate, table))
    return candidates

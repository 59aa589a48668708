"""What the channels that one layer does without save in the layers before it.

A candidate of a site has the cost of its own layers, with all outputs. On a path of channels that
is not what it costs: a site whose outputs the next layer does not take has fewer rows, and a site
that takes fewer channels saves in all sites of its path. Costs are then products of what two sites
keep. `settled` gives each candidate of a choice its exact cost in that choice. `repriced` gives all
candidates the cost of the change from that choice to one with them: costs then add up, as a
knapsack needs them, near the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

from worker.engine.costs.table import CostTable
from worker.engine.decompose.channels import Channels
from worker.engine.model import Site
from worker.engine.selection.candidate_costs import with_time
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.channels.narrowed import Narrowed
from worker.engine.selection.channels.paths import ChannelPath

Paths = Mapping[str, ChannelPath]
"""The paths of a model by their consumers."""


class Coupling:
    """The sites of a model, their candidates and the paths of channels between them."""

    def __init__(
        self,
        sites: Sequence[SiteCandidates],
        paths: Paths,
        table: CostTable | None,
    ) -> None:
        self._sites = sites
        self._at = {each.site.name: at for at, each in enumerate(sites)}
        self._paths = paths
        self._table = table
        # the costs with one output, by what they are of
        self._least: dict[Any, _Costs] = {}

    def settled(self, choice: Sequence[Candidate]) -> list[Candidate]:
        """Return a choice with each candidate at its exact cost in that choice."""
        outputs = self._outputs(choice)
        candidates = []
        for each, candidate in zip(self._sites, choice, strict=True):
            kept = outputs.get(each.site.name)
            candidates.append(self._narrowed(each.site, candidate, kept))
        return candidates

    def repriced(self, choice: Sequence[Candidate]) -> tuple[SiteCandidates, ...]:
        """Return all candidates at the cost of the change from a choice to one with them."""
        outputs = self._outputs(choice)
        sites = []
        for each in self._sites:
            candidates = tuple(
                self._priced(each.site, candidate, choice, outputs)
                for candidate in each.candidates
            )
            sites.append(replace(each, candidates=candidates))
        return tuple(sites)

    def _outputs(self, choice: Sequence[Candidate]) -> dict[str, int]:
        """Return the number of output channels of each site that loses some."""
        outputs = {}
        for path in self._paths.values():
            at = self._at[path.consumer]
            kept = kept_inputs(self._sites[at].site, choice[at])
            if kept is not None:
                outputs.update(dict.fromkeys(path.narrowed, kept))
        return outputs

    def _priced(
        self,
        site: Site,
        candidate: Candidate,
        choice: Sequence[Candidate],
        outputs: Mapping[str, int],
    ) -> Candidate:
        """Return a candidate at its own cost, and what it changes in the sites of its path."""
        costs = self._costs(site, candidate, outputs.get(site.name))
        path = self._paths.get(site.name)
        narrowed = () if path is None else path.narrowed
        for name in narrowed:
            at = self._at[name]
            other = self._sites[at].site
            before = self._costs(other, choice[at], outputs.get(name))
            after = self._costs(other, choice[at], kept_inputs(site, candidate))
            costs = costs.changed(before, after)
        return replace(candidate, **costs._asdict())

    def _costs(self, site: Site, candidate: Candidate, outputs: int | None) -> "_Costs":
        """Return the costs of a candidate with as many outputs; None for all.

        They are linear in the outputs, the time nearly so.
        """
        full = _Costs.of(candidate)
        if outputs is None or site.convolution is None:
            return full
        key = (site.name, candidate.form, candidate.variant, candidate.rank)
        if key not in self._least:
            self._least[key] = _Costs.of(self._narrowed(site, candidate, 1))
        return self._least[key].towards(
            full, outputs - 1, site.convolution.out_channels - 1
        )

    def _narrowed(
        self, site: Site, candidate: Candidate, outputs: int | None
    ) -> Candidate:
        """Return a candidate with as many outputs; None for all."""
        if outputs is None:
            return candidate
        assert site.convolution is not None  # a site of a path
        form = Narrowed.of(site.convolution, candidate.factorisation, outputs)
        rank = outputs if candidate.rank is None else candidate.rank
        convolutions = form.convolutions(rank)
        narrow = replace(
            candidate,
            macs=site.macs_of(convolutions),
            parameters=sum(prod(each.weight_shape) for each in convolutions),
            factorisation=form,
            rank=rank,
        )
        return with_time(site, narrow, self._table)


class _Costs(NamedTuple):
    """The costs of a candidate."""

    macs: int
    parameters: int
    nanoseconds: int | None

    @classmethod
    def of(cls, candidate: Candidate) -> "_Costs":
        """Return the costs that a candidate has."""
        return cls(candidate.macs, candidate.parameters, candidate.nanoseconds)

    def changed(self, before: "_Costs", after: "_Costs") -> "_Costs":
        """Return the costs with the change of another candidate's costs."""
        nanoseconds = self.nanoseconds
        times = (before.nanoseconds, after.nanoseconds)
        if nanoseconds is not None and None not in times:
            nanoseconds += (after.nanoseconds or 0) - (before.nanoseconds or 0)
        return _Costs(
            self.macs + after.macs - before.macs,
            self.parameters + after.parameters - before.parameters,
            nanoseconds,
        )

    def towards(self, full: "_Costs", part: int, whole: int) -> "_Costs":
        """Return the costs at a part of the way to others."""
        nanoseconds = None
        if self.nanoseconds is not None and full.nanoseconds is not None:
            nanoseconds = _between(self.nanoseconds, full.nanoseconds, part, whole)
        return _Costs(
            _between(self.macs, full.macs, part, whole),
            _between(self.parameters, full.parameters, part, whole),
            nanoseconds,
        )


def _between(least: int, full: int, part: int, whole: int) -> int:
    return least + (full - least) * part // max(whole, 1)


def kept_inputs(site: Site, candidate: Candidate) -> int | None:
    """Return the number of input channels that a candidate keeps; None for all."""
    form = candidate.factorisation
    if isinstance(form, Narrowed):
        form = form.inner
    if not isinstance(form, Channels):
        return None
    assert isinstance(candidate.rank, int)
    assert site.convolution is not None
    is_whole = candidate.rank == site.convolution.in_channels
    return None if is_whole else candidate.rank

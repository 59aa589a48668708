"""The costs that a plan promises of an artifact, and the check of the file that was written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from convpress.refusal import Code, Refusal
from worker.engine.model import QUANTISED, CostProfile, Site
from worker.engine.selection.candidates import Candidate


@dataclass(frozen=True)
class PromisedCosts:
    """The multiply-accumulates of an artifact on the rows that the original has.

    `fixed_macs` are those of the sites whose rows no value decides. The other sites are
    `sized_by_values`, with the costs of their choice, and `weights` is the number of weights there.
    """

    macs: int
    fixed_macs: int
    sized_by_values: tuple[Site, ...] = ()
    weights: int = 0

    @classmethod
    def of(cls, sites: Sequence[Site], choice: Sequence[Candidate]) -> "PromisedCosts":
        """Return the costs of one candidate a site."""
        planned = []
        weights = 0
        for site, candidate in zip(sites, choice, strict=True):
            planned.append(_planned(site, candidate))
            if site.sized_by_values and site.convolution is not None:
                weights += candidate.parameters
        fixed, by_values = _parted(planned)
        whole = CostProfile(tuple(planned), {})
        return cls(whole.macs, _macs(fixed), tuple(by_values), weights)

    def checked(self, original: CostProfile, written: CostProfile) -> CostProfile:
        """Return the costs of a written file, on the rows of the original.

        Values decide some rows, and those of the artifact are others. Where its costs differ from
        the promised ones, all other sites must still cost what they promise, and the weights of
        these must be as many as promised: they are what a row costs.

        Raises:
            Refusal: `verification_failed`.
        """
        # a weight that was replaced is no longer computed from its parameters
        saved = original.weight_macs - written.weight_macs
        if saved >= 0 and written.macs == self.macs - saved:
            return written
        fixed, by_values = _parted(written.sites)
        weights = sum(_weights(site) for site in by_values)
        fixed_macs = _macs(fixed)
        are_fixed = saved >= 0 and fixed_macs == self.fixed_macs - saved
        if self.sized_by_values and are_fixed and weights == self.weights:
            return replace(written, sites=(*fixed, *self.sized_by_values))
        # the file is counted anew: a mistake in replacing the sites shows here
        raise Refusal(
            Code.VERIFICATION_FAILED,
            "the compressed model does not cost the sum of its layers",
            expected=f"{self.macs - saved} MACs",
            got=f"{written.macs} MACs",
        )


def _planned(site: Site, candidate: Candidate) -> Site:
    """Return a site with the costs of a candidate in its place."""
    paths = range(len(site.execution_paths))
    costs = tuple(site.cost_in(path, candidate.macs) for path in paths)
    reason = QUANTISED if candidate.quantised else site.reason
    return replace(site, macs=candidate.macs, execution_paths=costs, reason=reason)


def _parted(sites: Sequence[Site]) -> tuple[list[Site], list[Site]]:
    """Return the sites whose rows no value decides, and the others."""
    fixed = [site for site in sites if not site.sized_by_values]
    by_values = [site for site in sites if site.sized_by_values]
    return fixed, by_values


def _macs(sites: Sequence[Site]) -> int:
    return CostProfile(tuple(sites), {}).macs


def _weights(site: Site) -> int:
    """Return the number of a layer's weights; other operators are not replaced."""
    return prod(site.weight_shape) if site.convolution is not None else 0

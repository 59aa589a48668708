"""Multiply-accumulates of one run."""

from collections.abc import Mapping, Sequence

from convpress.budgets import FLOPS_PER_MAC
from worker.engine.model import OpenedModel, Site
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.units.base import Unit


class Macs(Unit):
    """Multiply-accumulates along the execution path that has most of them.

    >>> Macs().text(500)
    '1000 FLOPs'
    """

    depends_on_path = True
    needs_complete_account = True

    def total(self, opened: OpenedModel, sites: Sequence[SiteCandidates]) -> int:  # noqa: ARG002
        """Return the multiply-accumulates of the original."""
        return opened.profile.macs

    def cost(self, site: Site, candidate: Candidate) -> int:  # noqa: ARG002
        """Return the multiply-accumulates of a candidate."""
        return candidate.macs

    def measured(self, opened: OpenedModel) -> int:
        """Return the multiply-accumulates of a written model."""
        return opened.profile.macs

    def text(self, amount: int) -> str:
        """Return multiply-accumulates in FLOPs."""
        return f"{FLOPS_PER_MAC * amount} FLOPs"

    def reported(self, amount: int) -> Mapping[str, int | float]:
        """Return the amount in MACs and in FLOPs."""
        return {"macs": amount, "flops": FLOPS_PER_MAC * amount}

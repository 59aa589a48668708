"""The weights that a model stores."""

from collections.abc import Mapping, Sequence

from worker.engine.model import OpenedModel, Site
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.units.base import Unit


class Parameters(Unit):
    """Elements of floating-point initializers, parameters and buffers.

    >>> Parameters().text(12)
    '12 parameters'
    """

    needs_written_file = True

    def total(self, opened: OpenedModel, sites: Sequence[SiteCandidates]) -> int:  # noqa: ARG002
        """Return the parameters of the original."""
        return opened.parameters

    def cost(self, site: Site, candidate: Candidate) -> int:  # noqa: ARG002
        """Return the weights of a candidate."""
        return candidate.parameters

    def measured(self, opened: OpenedModel) -> int:
        """Return the parameters of a written model."""
        return opened.parameters

    def text(self, amount: int) -> str:
        """Return an amount of parameters."""
        return f"{amount} parameters"

    def reported(self, amount: int) -> Mapping[str, int | float]:
        """Return the amount."""
        return {"parameters": amount}

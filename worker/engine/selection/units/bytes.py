"""The size of a model's file."""

from collections.abc import Mapping, Sequence

from worker.engine.model import OpenedModel, Site
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.units.base import Unit


class Bytes(Unit):
    """Bytes of the file.

    >>> Bytes().text(12)
    '12 B'
    """

    needs_written_file = True

    def total(self, opened: OpenedModel, sites: Sequence[SiteCandidates]) -> int:  # noqa: ARG002
        """Return the size of the original's file."""
        return opened.bytes

    def posted(self, opened: OpenedModel, total: int) -> int:  # noqa: ARG002
        """Return the size of the file that was sent."""
        return opened.posted_bytes

    def cost(self, site: Site, candidate: Candidate) -> int:
        """Return the bytes of a candidate's weights, in the site's dtype or in int8."""
        return (1 if candidate.quantised else site.itemsize) * candidate.parameters

    def measured(self, opened: OpenedModel) -> int:
        """Return the size of a written file."""
        return opened.bytes

    def text(self, amount: int) -> str:
        """Return an amount of bytes."""
        return f"{amount} B"

    def reported(self, amount: int) -> Mapping[str, int | float]:
        """Return the amount."""
        return {"bytes": amount}

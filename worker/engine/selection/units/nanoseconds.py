"""The time of one run by the cost table."""

from collections.abc import Mapping, Sequence

from convpress.budgets import LATENCY
from convpress.refusal import Code, Refusal
from worker.engine.model import OpenedModel, Site
from worker.engine.selection.candidates import (
    Candidate,
    SiteCandidates,
    total_nanoseconds,
)
from worker.engine.selection.units.base import Unit

_PER_MILLISECOND = 1e6


class Nanoseconds(Unit):
    """Nanoseconds of the layers that have a price in the cost table, along the slowest path.

    >>> Nanoseconds().text(1_500_000)
    '1.5000 ms'
    """

    depends_on_path = True
    counts_time = True

    def total(self, opened: OpenedModel, sites: Sequence[SiteCandidates]) -> int:  # noqa: ARG002
        """Return the time of the original's layers.

        Raises:
            Refusal: `cost_table_invalid` where none of the layers has a price.
        """
        originals = [each.original for each in sites]
        nanoseconds = total_nanoseconds(sites, originals)
        if nanoseconds:
            return nanoseconds
        raise Refusal(
            Code.COST_TABLE_INVALID,
            "none of the model's layers has a price in the cost table",
            field=LATENCY.field,
            expected="layers of two spatial axes, or linear ones",
            got=f"{len(sites)} others",
        )

    def cost(self, site: Site, candidate: Candidate) -> int:  # noqa: ARG002
        """Return the time of a candidate; one without a price takes none."""
        return candidate.time or 0

    def measured(self, opened: OpenedModel) -> None:  # noqa: ARG002
        """Return None: a file shows no time."""
        return

    def text(self, amount: int) -> str:
        """Return nanoseconds in milliseconds."""
        return f"{amount / _PER_MILLISECOND:.4f} ms"

    def reported(self, amount: int) -> Mapping[str, int | float]:
        """Return the amount in milliseconds."""
        return {"milliseconds": amount / _PER_MILLISECOND}

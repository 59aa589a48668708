"""The interface of a unit: totals, the cost of a candidate, and the count of a written file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from worker.engine.model import OpenedModel, Site, by_execution_path
from worker.engine.selection.candidates import Candidate, SiteCandidates


class Unit(ABC):
    """What one kind of budget counts, in whole numbers.

    `depends_on_path`: the cost is that of a run, and differs between the model's execution paths.
    `needs_written_file`: the file holds more of the unit than its layers' weights (biases, names,
    code), so that a choice fits for certain only once its file was written.
    `counts_time`: the unit is time by the cost table.
    `needs_complete_account`: a share of the unit is wrong where operators of unknown cost are left
    out of the account.
    """

    depends_on_path: ClassVar[bool] = False
    needs_written_file: ClassVar[bool] = False
    counts_time: ClassVar[bool] = False
    needs_complete_account: ClassVar[bool] = False

    @abstractmethod
    def total(self, opened: OpenedModel, sites: Sequence[SiteCandidates]) -> int:
        """Return the cost of the original model.

        Raises:
            Refusal: the unit cannot be counted in this model.
        """

    def posted(self, opened: OpenedModel, total: int) -> int:  # noqa: ARG002
        """Return the cost of the file that was sent: the total, but of a quantised model."""
        return total

    @abstractmethod
    def cost(self, site: Site, candidate: Candidate) -> int:
        """Return the cost of a candidate in a site's place, over all calls of the site."""

    @abstractmethod
    def measured(self, opened: OpenedModel) -> int | None:
        """Return the cost of a written model; None where no file shows it."""

    @abstractmethod
    def text(self, amount: int) -> str:
        """Return an amount as its budget is written."""

    @abstractmethod
    def reported(self, amount: int) -> Mapping[str, int | float]:
        """Return the members of a report that give an amount."""

    def costs(self, site: Site, candidate: Candidate) -> tuple[int, ...]:
        """Return the cost of a candidate, once for each path along which it may differ."""
        cost = self.cost(site, candidate)
        if self.depends_on_path:
            return by_execution_path([site], [cost])
        return (cost,)

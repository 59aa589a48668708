"""The inspection of a model: what it costs, before anything is compressed."""

from dataclasses import dataclass, field

from convpress.report.account import SizedByValues, Tensor, Unaccounted
from convpress.report.records import Count, Few, Many, Record


@dataclass(frozen=True, kw_only=True)
class InspectedSite(Record):
    """One convolution or matrix product, and the reason why it would be left unchanged, if any."""

    name: str
    op: str
    weight_shape: Few[Count]
    macs: Count
    calls: Count
    courses: Many[Count] | None = None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Inspection(Record):
    """The inputs, outputs, sites and costs of a model.

    `account_complete` and `unaccounted` are those of a report.
    `restored` says what was turned back into floats in a quantised model, None for others.
    `sized_by_values` is None where the shapes of the inputs decide all costs.
    `missing` says what the costs depend on that is not known: an input shape, without which they
    are None, or the cost of some operators, which `macs` then leaves out. `courses` are the MACs
    along each of the model's execution paths; `macs` is the largest of them.
    """

    account_complete: bool = True
    unaccounted: Many[Unaccounted] = field(default_factory=list)
    restored: str | None = None
    sized_by_values: SizedByValues | None = None
    format: str
    inputs: Many[Tensor]
    outputs: Many[Tensor]
    parameters: Count
    bytes: Count
    macs: Count | None
    courses: Many[Count] = field(default_factory=list)
    sites: Many[InspectedSite]
    uncounted: dict[str, Count]
    missing: str | None

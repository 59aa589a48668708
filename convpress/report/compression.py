"""The report of a compression, and the engine that made it."""

from dataclasses import dataclass, field

from convpress.report.account import (
    Cost,
    Point,
    Site,
    SizedByValues,
    Tensor,
    Unaccounted,
)
from convpress.report.evidence import Calibration, Evaluation, Risk, Tried, Verification
from convpress.report.records import Count, Few, Many, Record, Size
from convpress.report.times import Latency, Timing

BudgetReport = dict[str, Count | Size | str | None]
"""The text of each budget and the amount that it allows, with a `note` where that is special."""


@dataclass(frozen=True, kw_only=True)
class Engine(Record):
    """The versions and the device that did the work, and the seconds of each phase.

    `analysis_reused` says whether an earlier job's analysis was used.
    """

    versions: dict[str, str]
    analysis_reused: bool = False
    device: str | None = None
    seconds: dict[str, Size]


@dataclass(frozen=True, kw_only=True)
class Report(Record):
    """The report of one compression.

    Where `account_complete` is false, all multiply-accumulates are those without `unaccounted`.
    `uncounted` are the operators that have none. Earlier versions give no `timing`. `tried` are the
    budgets that the search for a promise tried, in their order; empty where a budget was sent.
    `precision` is the one that the job asked for.
    `restored` says what was turned back into floats in a quantised model, None for others.
    `sized_by_values` is None where the shapes of the inputs decide all costs.
    """

    account_complete: bool = True
    unaccounted: Many[Unaccounted] = field(default_factory=list)
    restored: str | None = None
    sized_by_values: SizedByValues | None = None
    evaluation: Evaluation | None = None
    tried: Few[Tried] = field(default_factory=list)
    format: str
    inputs: Many[Tensor]
    convention: str
    precision: str = "float"
    budget: BudgetReport
    before: Cost
    after: Cost
    keep: Size
    sites: Many[Site]
    uncounted: dict[str, Count]
    predicted_error: Size
    frontier: Few[Point]
    calibration: Calibration
    latency: Latency | None = None
    timing: Timing | None = None
    verification: Verification
    risk: Risk
    engine: Engine

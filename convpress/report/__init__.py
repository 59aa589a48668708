"""The records of reports and inspections: the engine fills them, and the worker validates them."""

from convpress.report.account import (
    Cost,
    Point,
    Site,
    SizedByValues,
    Tensor,
    Unaccounted,
)
from convpress.report.compression import BudgetReport, Engine, Report
from convpress.report.evidence import (
    Calibration,
    ComparedGroup,
    Evaluation,
    ExpectedLoss,
    Risk,
    Tried,
    Verification,
)
from convpress.report.inspection import InspectedSite, Inspection
from convpress.report.kept import (
    bytes_kept,
    macs_kept,
    measured_ms,
    parameters_kept,
    time_kept,
)
from convpress.report.records import (
    LONGEST_TEXT,
    Count,
    Few,
    Figure,
    Many,
    Record,
    Size,
)
from convpress.report.times import Latency, RunTimes, Spread, Timing

__all__ = [
    "LONGEST_TEXT",
    "BudgetReport",
    "Calibration",
    "ComparedGroup",
    "Cost",
    "Count",
    "Engine",
    "Evaluation",
    "ExpectedLoss",
    "Few",
    "Figure",
    "InspectedSite",
    "Inspection",
    "Latency",
    "Many",
    "Point",
    "Record",
    "Report",
    "Risk",
    "RunTimes",
    "Site",
    "Size",
    "SizedByValues",
    "Spread",
    "Tensor",
    "Timing",
    "Tried",
    "Unaccounted",
    "Verification",
    "bytes_kept",
    "macs_kept",
    "measured_ms",
    "parameters_kept",
    "time_kept",
]

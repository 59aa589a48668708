"""The columns of a comparison: what each shows of a job, how jobs are sorted by it, and as CSV."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from app.dashboard import formatting
from app.dashboard.job_report import Summary
from app.db.models import Job
from convpress.text import quantities

# Spreadsheets run a text that begins so as a formula, some also in full width. Where the comma is
# the decimal mark they split a line at semicolons, and a cell begins behind each.
_FORMULA = re.compile(r"(^|[;\t])(\s*)([=+\-@\uff1d\uff0b\uff0d\uff20\t\r])")
_RISKS = ("low", "moderate", "high", "unknown")

Value = float | str | None
ColumnName = Literal[
    "state",
    "calibration",
    "kept",
    "saved",
    "flops",
    "parameters",
    "bytes",
    "latency_before",
    "latency",
    "measured",
    "predicted",
    "agreement",
    "risk",
    "account",
    "took",
]


class SummarisedJob(NamedTuple):
    """A job and the figures of its report; None where it has no report to show."""

    job: Job
    summary: Summary | None


class Column(NamedTuple):
    """A column: its label, the value of a job, its text on a page, and its place in the order."""

    label: str
    value: Callable[[SummarisedJob], Value]
    show: Callable[[Any], str] = str
    order: Callable[[Any], Any] = lambda value: value
    is_number: bool = True


def _of_summary(figure: Callable[[Summary], Value]) -> Callable[[SummarisedJob], Value]:
    return lambda row: None if row.summary is None else figure(row.summary)


def _seconds(row: SummarisedJob) -> Value:
    job = row.job
    if job.started_at is None or job.finished_at is None:
        return None
    return (job.finished_at - job.started_at).total_seconds()


COLUMNS: dict[ColumnName, Column] = {
    "state": Column(
        "State", lambda row: row.job.state, formatting.capital, is_number=False
    ),
    "calibration": Column(
        "Calibration",
        lambda row: row.summary.calibration if row.summary else row.job.calibration,
        is_number=False,
    ),
    "kept": Column(
        "FLOPs kept", _of_summary(lambda summary: summary.keep), quantities.percent
    ),
    "saved": Column(
        "FLOPs saved", _of_summary(lambda summary: 1 - summary.keep), quantities.percent
    ),
    "flops": Column(
        "FLOPs", _of_summary(lambda summary: summary.after.flops), quantities.amount
    ),
    "parameters": Column(
        "Parameters",
        _of_summary(lambda summary: summary.after.parameters),
        quantities.amount,
    ),
    "bytes": Column(
        "File", _of_summary(lambda summary: summary.after.bytes), quantities.size
    ),
    "latency_before": Column(
        "Latency before",
        _of_summary(lambda summary: summary.latency_before_ms),
        quantities.milliseconds,
    ),
    "latency": Column(
        "Latency",
        _of_summary(lambda summary: summary.latency_after_ms),
        quantities.milliseconds,
    ),
    "measured": Column(
        "Measured error",
        _of_summary(lambda summary: summary.measured),
        quantities.percent,
    ),
    "predicted": Column(
        "Predicted error",
        _of_summary(lambda summary: summary.predicted),
        quantities.percent,
    ),
    "agreement": Column(
        "Same class", _of_summary(lambda summary: summary.agreement), quantities.percent
    ),
    "risk": Column(
        "Risk",
        _of_summary(lambda summary: summary.risk),
        formatting.risk,
        _RISKS.index,
        is_number=False,
    ),
    "account": Column(
        "Account",
        _of_summary(
            lambda summary: "complete" if summary.is_complete else "incomplete"
        ),
        is_number=False,
    ),
    "took": Column("Took", _seconds, formatting.seconds),
}
"""The columns by their names in addresses and in CSV."""
USUAL: tuple[ColumnName, ...] = (
    "calibration",
    "kept",
    "bytes",
    "latency",
    "measured",
    "predicted",
    "risk",
)


def ordered(
    rows: Sequence[SummarisedJob], column: Column, *, descending: bool
) -> list[SummarisedJob]:
    """Return the rows in the order of a column; those without a value come last."""
    valued = [row for row in rows if column.value(row) is not None]
    empty = [row for row in rows if column.value(row) is None]

    def key(row: SummarisedJob) -> Any:  # noqa: ANN401 - whatever the column's order gives
        return column.order(column.value(row))

    return sorted(valued, key=key, reverse=descending) + empty


def as_csv(rows: Sequence[SummarisedJob], names: Sequence[ColumnName]) -> str:
    """Return rows as CSV with a header: id, file, budget, and then columns by their names."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "filename", "budget", *names])
    for row in rows:
        job = row.job
        fixed = [str(job.id), job.filename, formatting.budgets(job.budgets)]
        values = [COLUMNS[name].value(row) for name in names]
        writer.writerow([_plain(value) for value in (*fixed, *values)])
    return text.getvalue()


def _plain(value: Value) -> Value:
    """Return a value that no spreadsheet runs.

    >>> _plain("=1+1"), _plain("net.onnx"), _plain(-0.5)
    ("'=1+1", 'net.onnx', -0.5)
    >>> _plain("net; =1+1"), _plain("\uff1d1+1")
    ("net; '=1+1", "'\uff1d1+1")
    """
    return _FORMULA.sub(r"\1\2'\3", value) if isinstance(value, str) else value

"""The times of a report: predicted by a cost table, and measured."""

from dataclasses import dataclass
from typing import Literal

from convpress.report.records import Count, Record, Size


@dataclass(frozen=True, kw_only=True)
class Latency(Record):
    """The time of the sites by the cost table, without those that have no price in it.

    `expected_after_ms` is the measured time of the original times the share that the sites keep by
    the table, to compare with the measured time of the artifact: both are the processor's. None
    from earlier versions. The measured times include the operators between the sites. `table` says
    whether the table was shipped or measured, and is empty from earlier versions.
    """

    predicted_before_ms: Size | None
    predicted_after_ms: Size | None
    expected_after_ms: Size | None = None
    unpriced_sites: Count
    runtime: str
    host: str
    table: str = ""
    table_sha256: str


@dataclass(frozen=True, kw_only=True)
class Spread(Record):
    """The times of several runs, in milliseconds."""

    median_ms: Size
    lower_quartile_ms: Size
    upper_quartile_ms: Size


@dataclass(frozen=True, kw_only=True)
class RunTimes(Record):
    """The times of a model's runs, after those that compare it.

    `processor` is the time that the processor worked, `clock` the time that passed. The latter is
    None on a busy host.
    """

    runs: Count
    processor: Spread
    clock: Spread | None


@dataclass(frozen=True, kw_only=True)
class Timing(Record):
    """The measured times of original and artifact, on the first of the compared inputs.

    They run in turn; models that are too large to be in memory together run one after the other.
    `note` says why the host counts as busy, if it does.
    """

    method: Literal["in turn", "one after the other"]
    threads: Count
    runtime: str
    busy: bool
    note: str | None
    before: RunTimes
    after: RunTimes

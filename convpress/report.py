"""The records of reports and inspections: the engine fills them, and the worker validates them.

They are plain dataclasses, since importing pydantic would take the engine's child a tenth of a
second. Types and limits stand in the annotations and hold where a record is read: a hostile child
may have written the file.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from annotated_types import Ge, Le, MaxLen

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

LONGEST_TEXT = 4000
"""Characters of a text in a report; longer names of a model are cut to it."""


class FailFast:
    """Marks a list whose first invalid item ends its validation, as `pydantic.FailFast` does.

    A child could otherwise make its reader keep an error, with the item, for each of a million
    items. Pydantic's own mark would take its import.
    """

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Return the schema of the list, which stops at the first error."""
        schema = dict(handler(source))
        assert schema["type"] == "list"
        schema["fail_fast"] = True
        return schema


Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Size = Annotated[float, Ge(0), Le(1e18)]
"""A time, a relative error or a fraction: not negative, and too small to overflow."""
Figure = Annotated[float, Ge(-1e18), Le(1e18)]
"""A figure of a metric, or a loss of it, which may be negative."""
Item = TypeVar("Item")
Many = Annotated[list[Item], FailFast()]
"""A list as long as the model is large."""
Few = Annotated[list[Item], FailFast(), MaxLen(1000)]
"""A list that does not grow with the model: sizes, layers in a site's place, other budgets."""
BudgetReport = dict[str, Count | Size | str | None]
"""The text of each budget and the amount that it allows, with a `note` where that is special."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A part of a report; reading converts nothing. The methods are named as those of pydantic."""

    # Strict: a child that writes "0.4" for 0.4 is at fault, or hostile.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "allow_inf_nan": False}

    @classmethod
    def model_validate(cls, members: object) -> Self:
        """Read a record from its members as JSON has them.

        Raises:
            pydantic.ValidationError: a member is missing, or not of its type or within its limits.
        """
        # Through JSON: in strict mode pydantic takes a dictionary for a record from JSON alone.
        return cls.model_validate_json(json.dumps(members))

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Read a record from JSON.

        Raises:
            pydantic.ValidationError: as in `model_validate`.
        """
        record: Self = _adapter(cls).validate_json(text)  # type: ignore[arg-type]  # classes are hashable
        return record

    def model_dump(self) -> dict[str, Any]:
        """Return the members, with records within them as dictionaries."""
        return asdict(self)

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """Return the record as JSON."""
        adapter = _adapter(type(self))  # type: ignore[arg-type]  # as above
        text: bytes = adapter.dump_json(self, indent=indent)
        return text.decode()


@cache
def _adapter(record: type[Record]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(record)


@dataclass(frozen=True, kw_only=True)
class Tensor(Record):
    """An input or output of a model.

    The shape is as `convpress.shapes` writes it, None where the model declares none.
    """

    name: str
    dtype: str
    shape: str | None


@dataclass(frozen=True, kw_only=True)
class Unaccounted(Record):
    """An operator of unknown cost that an account leaves out, and the reason."""

    name: str
    operator: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """The costs of a model; one MAC is two FLOPs.

    `courses` are the MACs along each of the model's execution paths through its Ifs; `macs` is the
    largest of them. `integer_operations` are those of the FLOPs that are computed with whole
    numbers, on quantised weights. `latency_ms` is the median time of a run by the clock, None on a
    busy host.
    """

    macs: Count
    courses: Many[Count] = field(default_factory=list)
    flops: Count
    integer_operations: Count = 0
    parameters: Count
    bytes: Count
    latency_ms: Size | None


@dataclass(frozen=True, kw_only=True)
class Site(Record):
    """The choice for one convolution or matrix product, and the `reason` where it is unchanged.

    `layers` are the weight shapes of the layers in its place, or of one of the `branches` whose
    outputs are summed. `variant` is the variant of its form. `error` is the energy of the
    difference of its outputs over that of the outputs. `ms_before` and `ms_after` are milliseconds
    by the cost table, None without a price. `courses` are the indices of the execution paths along
    which it runs, None where there is only one. With `int8` its layers are computed in int8, or
    some of them. `int8_loss` is the relative error of the outputs for which it stayed in float.
    """

    name: str
    op: str
    weight_shape: Few[Count]
    form: str | None
    variant: str | None
    rank: Count | Few[Count] | None
    layers: Few[Few[Count]]
    branches: Count = 1
    macs_before: Count
    macs_after: Count
    courses: Many[Count] | None = None
    ms_before: Size | None = None
    ms_after: Size | None = None
    error: Size | None
    int8: bool = False
    int8_loss: Size | None = None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Point(Record):
    """The choice for another budget: the predicted error of the outputs, and shares of the cost.

    `latency_keep` is by the cost table. `budget_keep` is the share in the unit of the first budget;
    None from versions that had budgets of FLOPs and time alone.
    """

    macs: Count
    keep: Size
    latency_keep: Size | None = None
    budget_keep: Size | None = None
    predicted_error: Size


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


@dataclass(frozen=True, kw_only=True)
class ExpectedLoss(Record):
    """The share of its right answers that a classifier is expected to lose.

    Eight in ten of the models that were measured lost between `low` and `high`.
    """

    expected: Size
    low: Size
    high: Size


@dataclass(frozen=True, kw_only=True)
class Risk(Record):
    """The level of risk in using the artifact, and the evidence.

    `expected_loss` is None where nothing shows it, as for models that are no classifiers.
    """

    level: Literal["low", "moderate", "high", "unknown"]
    text: str
    expected_loss: ExpectedLoss | None = None


@dataclass(frozen=True, kw_only=True)
class Calibration(Record):
    """The source of the inputs' statistics, or the `reason` why the weights counted alone.

    `images_from` says which kinds of images were made, and why. `photographs` counts the scenes
    that were cropped, and `photographs_mounted` the operator's own among them. `notes` say what
    weakened the calibration.
    """

    kind: str
    reason: str | None = None
    ranges: Few[str] = field(default_factory=list)
    ranges_from: str | None = None
    images_from: str | None = None
    photographs: Count | None = None
    photographs_mounted: Count | None = None
    images: Count | None = None
    distilled: Count | None = None
    steps: Count | None = None
    twin: bool | None = None
    held_out_samples: Count | None = None
    refitted: bool | None = None
    held_out_error: dict[str, float] = field(default_factory=dict)
    notes: Few[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ComparedGroup(Record):
    """The comparison on one group of inputs: samples, or images in one range of values."""

    name: str
    runs: Count
    relative_error: Size | None
    agreement: Size | None
    spread_error: Size | None = None


@dataclass(frozen=True, kw_only=True)
class Verification(Record):
    """The difference of the artifact's outputs from the original's; None without any to compare.

    The figures are the worst of all `groups`, which earlier versions do not list. `sized_by_values`
    are outputs whose sizes depend on values: they were not compared. `spread_error` is relative to
    the spread of the outputs from sample to sample.
    """

    inputs: str
    runs: Count
    outputs: Many[str]
    relative_error: Size | None
    agreement: Size | None
    finite: bool
    sized_by_values: Few[str] = field(default_factory=list)
    spread_error: Size | None = None
    groups: Few[ComparedGroup] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """A metric on the user's own labels or targets, or a command's number, before and after.

    Shares such as top-1 are fractions of 1. `loss` is positive where the artifact is worse.
    `count` is the number of samples, None for a command. `output` is the output that was measured.
    """

    metric: str
    before: Figure
    after: Figure
    loss: Figure
    count: Count | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tried(Record):
    """A budget that the search for the cheapest artifact tried.

    `metric` is what was measured: of the evaluation, `agreement` with the original, or `risk`.
    `figure` is its value after, and `level` that of the risk; both are None for a budget that
    cannot be reached. `keep` is the share of the FLOPs that the artifact keeps. `kept` says whether
    it keeps the promise.
    """

    budget: str
    keep: Size | None
    metric: str
    figure: Figure | None = None
    loss: Figure | None = None
    level: str | None = None
    kept: bool


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
    """

    account_complete: bool = True
    unaccounted: Many[Unaccounted] = field(default_factory=list)
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


def macs_kept(report: Report) -> float:
    """Return the fraction of the multiply-accumulates that a job kept."""
    return report.keep


def time_kept(report: Report) -> float:
    """Return the fraction of the time that a job kept: by the cost table, else as measured.

    A report without any time gives the fraction of the multiply-accumulates.
    """
    before, after = measured_ms(report)
    if report.latency is not None:
        before, after = report.latency.predicted_before_ms, report.latency.predicted_after_ms
    # A time of 0 is that of a model whose sites have no price.
    if not before:
        return report.keep
    return (after or 0.0) / before


def measured_ms(report: Report) -> tuple[float | None, float | None]:
    """Return the median times of a run before and after: the processor's where they are known."""
    if report.timing is None:
        return report.before.latency_ms, report.after.latency_ms
    return report.timing.before.processor.median_ms, report.timing.after.processor.median_ms


def parameters_kept(report: Report) -> float:
    """Return the fraction of the parameters that a job kept."""
    return report.after.parameters / max(report.before.parameters, 1)


def bytes_kept(report: Report) -> float:
    """Return the fraction of the file's bytes that a job kept."""
    return report.after.bytes / max(report.before.bytes, 1)


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
    `missing` says what the costs depend on that is not known: an input shape, without which they
    are None, or the cost of some operators, which `macs` then leaves out. `courses` are the MACs
    along each of the model's execution paths; `macs` is the largest of them.
    """

    account_complete: bool = True
    unaccounted: Many[Unaccounted] = field(default_factory=list)
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

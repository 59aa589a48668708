"""How good an artifact is, as a report says it: calibration, comparison, evaluation and risk."""

from dataclasses import dataclass, field
from typing import Literal

from convpress.report.records import Count, Few, Figure, Many, Record, Size


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
    the spread of an output from sample to sample, that of the worst output.
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

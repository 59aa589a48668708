"""Accounts of compressions and models, as they are stored: schemas with caps, for a hostile child may write them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Size = Annotated[float, Field(ge=0, le=1e18)]
"""A time, a relative error or a fraction: nothing below zero, and nothing that overflows when it is worked with."""


class Part(BaseModel):
    """A part of an account; nothing in it is converted."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Tensor(Part):
    """An input or output of a model; the shape is as `convpress.shapes` writes it, None where the model has none."""

    name: str
    dtype: str
    shape: str | None


class Cost(Part):
    """What a model costs; one MAC is two FLOPs.

    `courses` are the MACs along each of the courses that the model may take through its Ifs, of which `macs` is the
    most.
    """

    macs: Count
    courses: list[Count] = Field(default_factory=list)
    flops: Count
    parameters: Count
    bytes: Count
    latency_ms: Size | None


class Site(Part):
    """What became of one convolution or matrix product, and the `reason` where it was left as it is.

    `layers` are the weight shapes of what took its place, of one of the `branches` whose outputs are summed; `variant`
    is what its form leaves open but the rank.
    `ms_before` and `ms_after` are milliseconds by the cost table, None where that has no price for it. `courses` are
    the places of the model's courses along which it runs, None where there is one course.
    """

    name: str
    op: str
    weight_shape: list[Count]
    form: str | None
    variant: str | None
    rank: Count | list[Count] | None
    layers: list[list[Count]]
    branches: Count = 1
    macs_before: Count
    macs_after: Count
    courses: list[Count] | None = None
    ms_before: Size | None = None
    ms_after: Size | None = None
    error: Size | None
    reason: str | None


class Point(Part):
    """What another budget would give: the predicted error of the outputs at a cost, in time by the cost table.

    `budget_keep` is what is kept in what the first budget counts; None from versions that knew FLOPs and time alone.
    """

    macs: Count
    keep: Size
    latency_keep: Size | None = None
    budget_keep: Size | None = None
    predicted_error: Size


class Latency(Part):
    """What the sites take by the cost table, those apart that have no price in it; `before` and `after` are measured.

    Operators between the sites are in the measured figures alone. `expected_after_ms` is the measured `before` times
    the share that the sites keep by the table, to be compared with the measured `after`; None from earlier versions.
    """

    predicted_before_ms: Size | None
    predicted_after_ms: Size | None
    expected_after_ms: Size | None = None
    unpriced_sites: Count
    runtime: str
    host: str
    table_sha256: str


class Risk(Part):
    """How far the artifact may be trusted, and what that rests on."""

    level: Literal["low", "moderate", "high", "unknown"]
    text: str


class Calibration(Part):
    """How the inputs' statistics were found, or the `reason` why the weights counted alone.

    `notes` say what made the calibration weaker than it might be.
    """

    kind: str
    reason: str | None = None
    ranges: list[str] = Field(default_factory=list)
    ranges_from: str | None = None
    images: Count | None = None
    steps: Count | None = None
    twin: bool | None = None
    held_out_samples: Count | None = None
    refitted: bool | None = None
    held_out_error: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Verification(Part):
    """How the artifact's outputs differ from the original's; None where there is nothing to compare."""

    inputs: str
    runs: Count
    outputs: list[str]
    relative_error: Size | None
    agreement: Size | None
    finite: bool


class Allowed(Part):
    """What the budget came to, and a `note` where it was special; each kind of budget has members of its own."""

    model_config = ConfigDict(extra="allow")

    note: str | None = None


class Made(Part):
    """What did the work, how many seconds each phase took, and whether another job's analysis served."""

    versions: dict[str, str]
    analysis_reused: bool = False
    device: str | None = None
    seconds: dict[str, Size]


class Report(Part):
    """The account of one compression."""

    format: str
    inputs: list[Tensor]
    convention: str
    budget: Allowed
    before: Cost
    after: Cost
    keep: Size
    sites: list[Site]
    uncounted: dict[str, Count]
    predicted_error: Size
    frontier: list[Point]
    calibration: Calibration
    latency: Latency | None = None
    verification: Verification
    risk: Risk
    engine: Made


class InspectedSite(Part):
    """One convolution or matrix product, and why it would be left as it is, if it would."""

    name: str
    op: str
    weight_shape: list[Count]
    macs: Count
    calls: Count
    courses: list[Count] | None = None
    reason: str | None


class Inspection(Part):
    """What a model is; `missing` says what has to be given to learn its costs, which are None until then.

    It also says of which operators the cost cannot be told, where there are some; `macs` is then that of the others.
    `courses` are the MACs along each of the model's courses, of which `macs` is the most.
    """

    format: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: Count
    bytes: Count
    macs: Count | None
    courses: list[Count] = Field(default_factory=list)
    sites: list[InspectedSite]
    uncounted: dict[str, Count]
    missing: str | None

"""The counts of a report: a model's inputs, its costs, its layers, and other budgets for them."""

from dataclasses import dataclass, field

from convpress.report.records import Count, Few, Many, Record, Size


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
class SizedByValues(Record):
    """The layers whose rows values of the inputs may decide, and a sentence on their cost.

    `other_rows` says whether the artifact had other rows than the model when both were counted. All
    costs are then those on the rows of the model.
    """

    layers: Many[str]
    other_rows: bool = False
    text: str


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

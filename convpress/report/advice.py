"""The advice on a model: what each way of compressing it gives on this host, and one sentence."""

from dataclasses import dataclass

from convpress.report.evidence import ExpectedLoss
from convpress.report.records import Count, Few, Record, Size


@dataclass(frozen=True, kw_only=True)
class AdvisedOption(Record):
    """One way to compress the model, as it was measured; the fields name what to ask for.

    `milliseconds` is the processor's median time of a run on one thread, taken in turn with all
    others; `time_kept` is its share of the original's. `relative_error`, `agreement`, `risk` and
    `expected_loss` are those of a report. Where it was refused, `refusal` says why and the rest is
    None.
    """

    name: str
    precision: str
    flops_budget: str | None
    refusal: str | None = None
    keep: Size | None = None
    bytes: Count | None = None
    milliseconds: Size | None = None
    time_kept: Size | None = None
    relative_error: Size | None = None
    agreement: Size | None = None
    risk: str | None = None
    expected_loss: ExpectedLoss | None = None


@dataclass(frozen=True, kw_only=True)
class Advice(Record):
    """What was measured of each option, the name of the advised one, and the reason.

    `bytes` and `milliseconds` are the original's. `choice` is None where the model is best left as
    it is. `text` is for people.
    """

    format: str
    bytes: Count
    milliseconds: Size
    options: Few[AdvisedOption]
    choice: str | None
    text: str

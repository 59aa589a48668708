"""Evaluation options: the metric by which a job measures a model on the user's own labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from convpress.refusal import Code, Refusal
from convpress.text.spelling import did_you_mean

FIELD, METRIC, OUTPUT = "evaluation", "evaluation_metric", "evaluation_output"

Metric = Literal["top-1", "psnr", "mse", "mean-iou"]
"""Metrics of an evaluation file; the array `labels` belongs to the first, `targets` to others."""

DEFAULT: Metric = "top-1"
AGREEMENT = "agreement"
"""The share of inputs to which artifact and original give the same class."""
SCORE = "score"
"""The number that a command of the user prints."""
LOWER_SCORE = "score, lower is better"
"""The same where the less is the better."""
EXPECTED = (
    ".npz with one array for each input by its name, samples along the first axis, and the array "
    "labels (class numbers, for top-1) or targets (for psnr, mse and mean-iou)"
)
_LONGEST_OUTPUT = 1000


@dataclass(frozen=True)
class MetricKind:
    """How a metric is named and read: `is_share` for fractions of 1, whose loss is in points."""

    label: str
    is_share: bool = False
    higher_is_better: bool = True
    unit: str = ""

    def loss(self, before: float, after: float) -> float:
        """Return the loss, in the metric's unit: negative where `after` is better.

        >>> METRICS["mse"].loss(0.25, 0.5), METRICS["psnr"].loss(30.0, 29.5)
        (0.25, 0.5)
        """
        return before - after if self.higher_is_better else after - before

    def text(self, value: float) -> str:
        """Return a value, or the amount of a loss, with its unit.

        >>> METRICS["top-1"].text(0.8126), METRICS["psnr"].text(30.412), METRICS["mse"].text(2e-05)
        ('81.26 %', '30.41 dB', '2e-05')
        """
        if self.is_share:
            return f"{100 * value:.2f} %"
        return f"{value:.2f} dB" if self.unit else f"{value:.5g}"


METRICS: Mapping[str, MetricKind] = {
    "top-1": MetricKind("top-1", is_share=True),
    "psnr": MetricKind("PSNR", unit="dB"),
    "mse": MetricKind("mean squared error", higher_is_better=False),
    "mean-iou": MetricKind("mean IoU", is_share=True),
    AGREEMENT: MetricKind(AGREEMENT, is_share=True),
    SCORE: MetricKind(SCORE),
    LOWER_SCORE: MetricKind(LOWER_SCORE, higher_is_better=False),
}


def kind_of(metric: str) -> MetricKind:
    """Return the kind of a report's metric; a name of another version is its own label."""
    return METRICS.get(metric) or MetricKind(metric)


def parse_metric(text: str | None) -> Metric | None:
    """Read the field `evaluation_metric`; None where it is left out.

    Raises:
        Refusal: `evaluation_invalid`.
    """
    if not text:
        return None
    names = get_args(Metric)
    if text not in names:
        raise Refusal(
            Code.EVALUATION_INVALID,
            f"{text[:80]!r} is no metric{did_you_mean(text, names)}",
            field=METRIC,
            expected=", ".join(names),
            got=text[:80],
        )
    return cast(Metric, text)


def parse_output(text: str | None) -> str | None:
    """Read the field `evaluation_output`, the name of one of the model's outputs.

    Raises:
        Refusal: `evaluation_invalid`.
    """
    if not text:
        return None
    if len(text) > _LONGEST_OUTPUT:
        raise Refusal(
            Code.EVALUATION_INVALID,
            "the name of the output is too long",
            field=OUTPUT,
            expected=f"at most {_LONGEST_OUTPUT} characters",
            got=f"{len(text)} characters",
        )
    return text


def choose_metric(
    metric: Metric | None, output: str | None, *, has_file: bool
) -> Metric | None:
    """Return the metric of a job: by default top-1; None without an evaluation file.

    Raises:
        Refusal: `evaluation_invalid` for a metric or an output without a file.

    >>> choose_metric(None, None, has_file=True), choose_metric(None, None, has_file=False)
    ('top-1', None)
    """
    if has_file:
        return metric or DEFAULT
    for field, text in ((METRIC, metric), (OUTPUT, output)):
        if text is not None:
            raise Refusal(
                Code.EVALUATION_INVALID,
                f"{field} comes without an evaluation file",
                field=FIELD,
                expected=EXPECTED,
                got="no such file",
            )
    return None

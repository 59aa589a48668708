"""The largest loss that a job may cause: a budget that is a promise, in place of a FLOPs budget.

The engine looks for the cheapest artifact that keeps it.
"""

import re
from dataclasses import dataclass
from typing import Literal

from convpress.evaluation import AGREEMENT, METRICS
from convpress.refusal import Code, Refusal

FIELD = "max_loss"
EXPECTED = (
    "a percentage (1%): points of agreement, top-1 or mean IoU, and otherwise a share of the "
    "original's figure; or an amount of the metric (0.01, 0.4dB)"
)
Unit = Literal["%", "dB", ""]
_NUMBER = re.compile(r"(\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9}) ?(%|db)?", re.IGNORECASE)
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class MaxLoss:
    """A largest loss as a user writes it: `number` in the unit `unit`."""

    text: str
    number: float
    unit: Unit

    def allowed(self, metric: str, before: float) -> float:
        """Return the loss that is allowed, in the metric's own unit.

        `before` is the original's figure.

        >>> parse_max_loss("1%").allowed("top-1", 0.8), parse_max_loss("1%").allowed("psnr", 30.0)
        (0.01, 0.3)
        """
        if self.unit != "%":
            return self.number
        share = self.number / 100
        return share if METRICS[metric].is_share else share * abs(before)

    def is_kept(self, metric: str, before: float, after: float) -> bool:
        """Whether the figures before and after lie within the loss."""
        loss = METRICS[metric].loss(before, after)
        return loss <= self.allowed(metric, before) + _TOLERANCE


def parse_max_loss(text: str) -> MaxLoss:
    """Read the field `max_loss`.

    Raises:
        Refusal: `budget_invalid`.

    >>> parse_max_loss("0,4 dB")
    MaxLoss(text='0,4 dB', number=0.4, unit='dB')
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise _invalid(f"{text[:40]!r} is not a loss", text)
    number = float(match[1].replace(",", "."))
    unit: Unit = ""
    if match[2]:
        unit = "%" if match[2] == "%" else "dB"
    if unit == "%" and number > 100:
        raise _invalid("a model cannot lose more than 100%", text)
    return MaxLoss(text.strip(), number, unit)


def require_measurable(max_loss: MaxLoss, metric: str) -> None:
    """Check that a loss is one of this metric.

    Raises:
        Refusal: `budget_invalid`.
    """
    kind = METRICS[metric]
    if max_loss.unit == "dB" and kind.unit != "dB":
        raise _invalid(f"{kind.label} is not measured in dB", max_loss.text)
    # a bare 1 could be a point, or all that there is
    if max_loss.unit == "" and kind.is_share and max_loss.number >= 1:
        detail = (
            f"{kind.label} is a fraction of 1, and {max_loss.text} would be all of it"
        )
        raise _invalid(f"{detail}: did you mean {max_loss.text}%?", max_loss.text)


def require_alone(*, flops_budget: bool, rank: bool) -> None:
    """Check that no FLOPs budget and no fixed rank stands beside a largest loss.

    Raises:
        Refusal: `budget_invalid`.
    """
    if rank:
        raise Refusal(
            Code.BUDGET_INVALID,
            f"{FIELD} and a fixed rank contradict each other: a rank leaves nothing to look for",
            field=FIELD,
            expected=f"{FIELD} or a rank",
            got="both",
        )
    if not flops_budget:
        return
    raise Refusal(
        Code.BUDGET_INVALID,
        f"{FIELD} and flops_budget contradict each other: the service chooses the budget itself",
        field=FIELD,
        expected=f"{FIELD} or flops_budget, alone or with budgets of other kinds",
        got="both",
    )


def needs_classes() -> Refusal:
    """Return the refusal of a loss of agreement for a model that gives no classes."""
    return Refusal(
        Code.BUDGET_INVALID,
        f"the model gives no classes, so there is no {AGREEMENT} to keep",
        field=FIELD,
        expected="an evaluation file, whose metric is then kept; or flops_budget",
        got="neither an evaluation file nor one vector of scores a sample",
    )


def needs_inputs(field: str = FIELD) -> Refusal:
    """Return the refusal of a promise without inputs to judge it by; `field` asks for it."""
    return Refusal(
        Code.BUDGET_INVALID,
        "without a calibration the models are compared on noise, which tells neither agreement nor "
        "risk",
        field=field,
        expected="an evaluation file, samples, or the calibration synthetic; or a budget",
        got="no inputs, or a model that cannot be calibrated",
    )


def _invalid(detail: str, text: str) -> Refusal:
    return Refusal(
        Code.BUDGET_INVALID,
        detail,
        field=FIELD,
        expected=EXPECTED,
        got=text.strip()[:40],
    )

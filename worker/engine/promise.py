"""A promise of the largest loss, or of low risk: what a try has to keep, and what was tried.

It imports no model library: the command line judges the numbers of a user's command by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from convpress import max_loss
from convpress import report as records
from convpress.budgets import FLOPS, LOW_RISK
from convpress.evaluation import METRICS
from convpress.max_loss import MaxLoss
from convpress.refusal import Code, Refusal

RISK = "risk"
"""What is measured where the promise is one of low risk."""
FAILED_TRIES = (Code.BUDGET_UNREACHABLE, Code.VERIFICATION_FAILED)
"""Refusals that a milder budget may avoid."""


@dataclass(frozen=True)
class Promise:
    """The largest loss of a metric whose original's figure is `before`; None for low risk."""

    largest: MaxLoss | None
    metric: str
    before: float = 1.0

    @property
    def field(self) -> str:
        """The form field that asks for it."""
        if self.largest is None:
            return FLOPS.field
        return max_loss.FIELD

    @property
    def text(self) -> str:
        """What the field asks for."""
        if self.largest is None:
            return LOW_RISK
        return self.largest.text

    def by_figure(self, budget: str, keep: float, figure: float) -> records.Tried:
        """Return a try whose artifact has this figure."""
        assert self.largest is not None  # only a loss is judged by a figure
        return records.Tried(
            budget=budget,
            keep=keep,
            metric=self.metric,
            figure=figure,
            loss=METRICS[self.metric].loss(self.before, figure),
            kept=self.largest.is_kept(self.metric, self.before, figure),
        )

    def by_level(self, budget: str, keep: float, level: str) -> records.Tried:
        """Return a try whose artifact has this level of risk."""
        return records.Tried(
            budget=budget,
            keep=keep,
            metric=self.metric,
            level=level,
            kept=level == "low",
        )

    def unreachable(self, budget: str) -> records.Tried:
        """Return a try without an artifact."""
        return records.Tried(budget=budget, keep=None, metric=self.metric, kept=False)

    def refusal(
        self, tried: Sequence[records.Tried], obstacles: Sequence[str] = ()
    ) -> Refusal:
        """Return the refusal of a promise that none of the tries keeps, with what they gave.

        The last of them is the mildest. `obstacles` say why no other try can keep it.
        """
        attempts = "; ".join(
            f"{attempt.budget} {_outcome(attempt)}" for attempt in tried
        )
        if obstacles:
            attempts += f"; no budget helps, since {'; '.join(obstacles)}"
        alternative = "samples, which may lower the risk"
        if self.largest is not None:
            alternative = "a larger loss"
        mildest = tried[-1]
        return Refusal(
            Code.BUDGET_UNREACHABLE,
            f"no budget keeps {self.field}={self.text}; tried: {attempts}",
            field=self.field,
            expected=f"{alternative}, or a budget of FLOPs: the mildest, {mildest.budget}, "
            f"{_outcome(mildest)}",
            got=self.text,
        )


def _outcome(attempt: records.Tried) -> str:
    """Return the result of a try, in words."""
    if attempt.level is not None:
        return f"has {attempt.level} risk"
    if attempt.loss is None:
        return "cannot be reached"
    kind = METRICS[attempt.metric]
    return f"loses {kind.text(attempt.loss)} of {kind.label}"

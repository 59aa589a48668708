"""The risk of using a compressed model, in plain words, for users without labelled data.

The thresholds are relative errors of the outputs, as measured on synthetic inputs and as predicted
from those of the layers. Below the first threshold of either, no network of
`benchmarks/accuracy.py` lost more than two points; above the second they could lose five.
SqueezeNet's outputs on synthetic images stay near while it loses thirty points on real ones: the
prediction from its layers shows that loss. Below the first threshold of both, classifiers there
gave the same class to 85 % of the images and more.
"""

from collections.abc import Sequence
from typing import Literal

from convpress.report import Risk
from worker.engine.verify import Comparison

Level = Literal["low", "moderate", "high"]

_LEVELS: Sequence[Level] = ("low", "moderate", "high")
_MEASURED = (0.15, 0.3)
_PREDICTED = (0.7, 0.9)
_LEAST_AGREEMENT = 0.8
"""With less agreement the risk is not low: the model's classes may lie close together."""


def assess(
    comparison: Comparison, predicted: float | None, *, calibrated: bool, unchanged: bool
) -> Risk:
    """Return the risk of a compressed model from its comparison with the original.

    `predicted` is the predicted error of the outputs, relative and squared; None where the share of
    the layers' errors that arrives at the outputs was not measured.

    >>> near = Comparison(("y",), 0.05, 0.98, True)
    >>> [assess(near, error, calibrated=True, unchanged=False).level for error in (None, 0.6, 2.0)]
    ['low', 'moderate', 'high']
    >>> assess(Comparison(("y",), 0.05, 0.7, True), 0.01, calibrated=True, unchanged=False).level
    'moderate'
    """
    risk = _assessed(comparison, predicted, calibrated=calibrated, unchanged=unchanged)
    if not comparison.sized_by_values:
        return risk
    names = ", ".join(comparison.sized_by_values)
    note = f"Not compared, since their sizes depend on values: {names}."
    return Risk(level=risk.level, text=f"{risk.text} {note}")


def _assessed(
    comparison: Comparison, predicted: float | None, *, calibrated: bool, unchanged: bool
) -> Risk:
    if unchanged:
        return Risk(level="low", text="The model is the original.")
    if not calibrated:
        text = (
            "The model was compressed by its weights alone and compared on noise: measure it on "
            "data of your own."
        )
        return Risk(level="unknown", text=text)
    if comparison.relative_error is None:
        text = "The original gives no outputs on synthetic inputs that could be compared."
        return Risk(level="unknown", text=text)
    level = _rank(comparison.relative_error, _MEASURED)
    if comparison.agreement is not None and comparison.agreement < _LEAST_AGREEMENT:
        level = max(level, _LEVELS.index("moderate"))
    # the higher of both levels counts: either may miss a loss
    if predicted is not None:
        level = max(level, _rank(predicted**0.5, _PREDICTED))
    return Risk(level=_LEVELS[level], text=_evidence(comparison, predicted))


def _rank(error: float, thresholds: tuple[float, float]) -> int:
    """Return the index of the level of an error."""
    return sum(error > threshold for threshold in thresholds)


def _evidence(comparison: Comparison, predicted: float | None) -> str:
    assert comparison.relative_error is not None  # `assess` has checked
    error = f"{100 * comparison.relative_error:.1f} %"
    text = f"On fresh synthetic inputs its outputs differ from the original's by {error}"
    text += " of their size"
    if comparison.agreement is not None:
        cases = f"{100 * comparison.agreement:.0f} %"
        text += f", and it gives the same class in {cases} of the cases"
    if predicted is not None:
        share = f"{100 * predicted**0.5:.1f} %"
        text += f"; from the errors of its layers {share} were predicted"
    return f"{text}."

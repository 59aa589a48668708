"""How far a compressed model may be trusted, in plain words, for those who have no labels to measure with.

The thresholds are relative errors of the outputs, as measured on synthetic inputs and as predicted from those of the
layers: below the first of either, no network of `benchmarks/accuracy.py` lost more than two points, above the
second they could lose five. SqueezeNet's outputs on synthetic images stay near while it loses thirty points on real
ones; what its layers are predicted to lose tells. Below the first of both, classifiers there gave the same class to
85 % of the images and more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from worker.engine.verify import Comparison

Level = Literal["low", "moderate", "high", "unknown"]

_LEVELS: Sequence[Level] = ("low", "moderate", "high")
_MEASURED, _PREDICTED = (0.15, 0.3), (0.7, 0.9)
_LEAST_AGREEMENT = 0.8
"""With less the risk is not low: classes may lie close together."""


@dataclass(frozen=True)
class Risk:
    """A level, and a sentence that says what it rests on."""

    level: Level
    text: str


def assess(
    comparison: Comparison, predicted: float | None, *, calibrated: bool, unchanged: bool
) -> Risk:
    """Return the risk of using the compressed model, from how it compared with the original on fresh inputs.

    `predicted` is the error of the outputs, relative and squared, to which those of the layers were predicted to add
    up; None where nothing tells what of them arrives there.

    >>> comparison = Comparison(("y",), 0.05, 0.98, True)
    >>> [assess(comparison, error, calibrated=True, unchanged=False).level for error in (None, 0.01, 0.6, 2.0)]
    ['low', 'low', 'moderate', 'high']
    >>> assess(Comparison(("y",), 0.05, 0.7, True), 0.01, calibrated=True, unchanged=False).level
    'moderate'
    """
    if unchanged:
        return Risk("low", "The model is the original.")
    if not calibrated:
        text = "The model was compressed by its weights alone and compared on noise: measure it on data of your own."
        return Risk("unknown", text)
    error = comparison.relative_error
    if error is None:
        return Risk(
            "unknown", "The original gives nothing on synthetic inputs that could be compared."
        )
    text = f"On fresh synthetic inputs its outputs differ from the original's by {100 * error:.1f} % of their size"
    if comparison.agreement is not None:
        text += f", and it gives the same class in {100 * comparison.agreement:.0f} % of the cases"
    level = _level(error, _MEASURED)
    if comparison.agreement is not None and comparison.agreement < _LEAST_AGREEMENT:
        level = max(level, _LEVELS.index("moderate"))
    if predicted is not None:
        level = max(level, _level(predicted**0.5, _PREDICTED))
        text += f"; from the errors of its layers {100 * predicted**0.5:.1f} % were predicted"
    return Risk(_LEVELS[level], f"{text}.")


def _level(error: float, thresholds: tuple[float, float]) -> int:
    return sum(error > threshold for threshold in thresholds)

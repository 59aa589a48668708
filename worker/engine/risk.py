"""How far a compressed model may be trusted, in plain words, for those who have no labels to measure with.

The thresholds are those at which networks of `benchmarks/accuracy.py` lost less than one point, and less than five.
"""

from dataclasses import dataclass
from typing import Literal

from worker.engine.verify import Comparison

Level = Literal["low", "moderate", "high", "unknown"]

_LOW_AGREEMENT, _MODERATE_AGREEMENT = 0.95, 0.85
_LOW_ERROR, _MODERATE_ERROR = 0.1, 0.2


@dataclass(frozen=True)
class Risk:
    """A level, and a sentence that says what it rests on."""

    level: Level
    text: str


def assess(comparison: Comparison, *, calibrated: bool, unchanged: bool) -> Risk:
    """Return the risk of using the compressed model, from how it compared with the original on fresh inputs.

    >>> assess(Comparison(("y",), 0.05, 0.98, True), calibrated=True, unchanged=False).text
    'On fresh synthetic inputs it gives the same class as the original in 98 % of the cases.'
    """
    if unchanged:
        return Risk("low", "The model is the original.")
    if not calibrated:
        text = "The model was compressed by its weights alone and compared on noise: measure it on data of your own."
        return Risk("unknown", text)
    if comparison.agreement is not None:
        same = f"{100 * comparison.agreement:.0f} %"
        text = f"On fresh synthetic inputs it gives the same class as the original in {same} of the cases."
        return Risk(_level(1 - comparison.agreement, 1 - _LOW_AGREEMENT, 1 - _MODERATE_AGREEMENT), text)
    if comparison.relative_error is not None:
        share = f"{100 * comparison.relative_error:.1f} %"
        text = f"On fresh synthetic inputs its outputs differ from the original's by {share} of their size."
        return Risk(_level(comparison.relative_error, _LOW_ERROR, _MODERATE_ERROR), text)
    return Risk("unknown", "The original gives nothing on synthetic inputs that could be compared.")


def _level(distance: float, low: float, moderate: float) -> Level:
    if distance <= low:
        return "low"
    return "moderate" if distance <= moderate else "high"

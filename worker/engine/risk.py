"""How far a compressed model may be trusted, in plain words, for those who have no labels to measure with.

The thresholds are relative errors of the outputs: below the first, the ResNet-20 of `benchmarks/accuracy.py` lost about
one point in either format, above the second it could lose five.
"""

from dataclasses import dataclass
from typing import Literal

from worker.engine.verify import Comparison

Level = Literal["low", "moderate", "high", "unknown"]

_LOW, _MODERATE = 0.15, 0.3


@dataclass(frozen=True)
class Risk:
    """A level, and a sentence that says what it rests on."""

    level: Level
    text: str


def assess(comparison: Comparison, *, calibrated: bool, unchanged: bool) -> Risk:
    """Return the risk of using the compressed model, from how it compared with the original on fresh inputs.

    >>> assess(Comparison(("y",), 0.05, 0.98, True), calibrated=True, unchanged=False).level
    'low'
    """
    if unchanged:
        return Risk("low", "The model is the original.")
    if not calibrated:
        text = "The model was compressed by its weights alone and compared on noise: measure it on data of your own."
        return Risk("unknown", text)
    error = comparison.relative_error
    if error is None:
        return Risk("unknown", "The original gives nothing on synthetic inputs that could be compared.")
    text = f"On fresh synthetic inputs its outputs differ from the original's by {100 * error:.1f} % of their size"
    if comparison.agreement is not None:
        text += f", and it gives the same class in {100 * comparison.agreement:.0f} % of the cases"
    return Risk("low" if error <= _LOW else "moderate" if error <= _MODERATE else "high", f"{text}.")

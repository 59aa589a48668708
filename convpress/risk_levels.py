"""The levels of risk: the map to an expected loss, and thresholds, as engine and pages use them.

For classifiers the error of the outputs, relative to their spread from sample to sample, is mapped
to the share of right answers that the artifact will lose. `python benchmarks/risk_map.py
docs/accuracy.json docs/risk.json` fitted the map to compressed models of several networks and
printed the constants; docs/method.md has its figures.

For other models the thresholds are of relative errors of the outputs, as measured on inputs that
nothing was fitted to and as predicted from those of the layers.
"""

from math import expm1

SCALE, POWER = 0.88, 2.96
"""The loss is 1 - exp(-(error / SCALE) ** POWER)."""
BAND = (0.62, 1.52)
"""Factors of the error: between them the map gives the losses of eight in ten of the models."""
LOW_UP_TO = 0.05
"""The level is low where not even the upper end of the band is above this."""
HIGH_FROM = 0.05
"""The level is high where not even the lower end of the band is below this."""

MEASURED = (0.15, 0.3)
"""Above the first the level is at least moderate, above the second high; not of classifiers."""
PREDICTED = (0.7, 0.9)
"""The same for the predicted error."""


def expected_loss(error: float) -> tuple[float, float, float]:
    """Return the expected loss at an error relative to the spread, and both ends of its band.

    >>> [round(loss, 3) for loss in expected_loss(0.4)]
    [0.092, 0.023, 0.284]
    >>> expected_loss(0.0)
    (0.0, 0.0, 0.0)
    """
    low, high = BAND
    return _loss(error), _loss(low * error), _loss(high * error)


def _loss(error: float) -> float:
    return abs(expm1(-((error / SCALE) ** POWER)))

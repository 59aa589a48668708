"""The level of risk: the higher one of measured and predicted errors, with its evidence."""

import pytest

from worker.engine.risk import assess
from worker.engine.verify import Comparison


def comparison(error, agreement=None):
    return Comparison(("y",), error, agreement, True)


@pytest.mark.parametrize(
    ("error", "agreement", "predicted", "level"),
    [
        (0.15, None, None, "low"),
        (0.16, None, None, "moderate"),
        (0.31, None, None, "high"),
        (0.01, 0.79, None, "moderate"),
        (0.31, 0.79, None, "high"),
        (0.01, 1.0, 0.5, "moderate"),
        (0.01, 1.0, 0.82, "high"),
        (0.31, 1.0, 0.01, "high"),
    ],
)
def test_the_worst_evidence_decides(error, agreement, predicted, level):
    risk = assess(comparison(error, agreement), predicted, calibrated=True, unchanged=False)
    assert risk.level == level


def test_the_original_is_no_risk():
    assert assess(comparison(None), None, calibrated=False, unchanged=True).level == "low"


@pytest.mark.parametrize(
    ("error", "calibrated", "text"),
    [(0.0, False, "by its weights alone"), (None, True, "no outputs on synthetic inputs")],
)
def test_without_evidence_the_risk_is_unknown(error, calibrated, text):
    risk = assess(comparison(error), None, calibrated=calibrated, unchanged=False)
    assert risk.level == "unknown"
    assert text in risk.text


def test_the_text_states_the_evidence():
    risk = assess(comparison(0.123, 0.875), 0.04, calibrated=True, unchanged=False)
    assert "12.3 % of their size" in risk.text
    assert "the same class in 88 % of the cases" in risk.text
    assert "20.0 % were predicted" in risk.text

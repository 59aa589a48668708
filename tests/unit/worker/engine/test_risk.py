"""The level of risk: the worst of all evidence, with its doubts."""

import numpy as np
import pytest

from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.evaluation.answers import Answers
from worker.engine.risk import assess
from worker.engine.verify import Comparison

SYNTHETIC = ComparisonInputs("synthetic", {"0 to 1": []})


def comparison(error, agreement=None, spread=None):
    return Comparison(("y",), error, agreement, True, spread_error=spread)


def risk_of(error, agreement=None, predicted=0.01, inputs=SYNTHETIC, spread=None):
    """Return the risk of one comparison."""
    comparisons = {"0 to 1": comparison(error, agreement, spread)}
    return assess(comparisons, inputs, predicted, unchanged=False)


@pytest.mark.parametrize(
    ("error", "agreement", "predicted", "level"),
    [
        (0.15, None, 0.01, "low"),
        (0.16, None, 0.01, "moderate"),
        (0.31, None, 0.01, "high"),
        (0.01, None, 0.5, "moderate"),
        (0.01, None, 0.82, "high"),
        (0.01, 1.0, 0.82, "high"),
    ],
)
def test_the_worst_evidence_decides(error, agreement, predicted, level):
    assert risk_of(error, agreement, predicted).level == level


@pytest.mark.parametrize(
    ("best", "worst", "level"),
    [(0.01, 0.1, "low"), (0.01, 0.2, "moderate"), (0.01, 0.9, "high")],
)
@pytest.mark.parametrize("agreement", [None, 0.9])
def test_the_worst_range_decides(best, worst, level, agreement):
    inputs = ComparisonInputs("synthetic", {"0 to 1": [], "0 to 255": []})
    spreads = (1.2 * best, 1.2 * worst) if agreement else (None, None)
    comparisons = {
        "0 to 1": comparison(best, agreement, spreads[0]),
        "0 to 255": comparison(worst, agreement, spreads[1]),
    }
    assert assess(comparisons, inputs, 0.01, unchanged=False).level == level


def test_the_expected_loss_of_several_ranges_is_that_of_the_worst_with_its_band():
    inputs = ComparisonInputs("synthetic", {"0 to 1": [], "0 to 255": [], "other": []})
    comparisons = {
        "0 to 1": comparison(0.1, 1.0, 0.3),
        "0 to 255": comparison(0.2, 0.9, 0.7),
        "other": comparison(0.1, 1.0),
    }
    risk = assess(comparisons, inputs, 0.01, unchanged=False)
    assert risk.expected_loss == risk_of(0.2, 0.9, spread=0.7).expected_loss


def test_the_text_has_the_worst_figures_of_all_ranges():
    inputs = ComparisonInputs("synthetic", {"0 to 1": [], "0 to 255": []})
    comparisons = {"0 to 1": comparison(0.01, 1.0), "0 to 255": comparison(0.4, 0.9)}
    risk = assess(comparisons, inputs, 0.01, unchanged=False)
    assert "40.0 % of their size" in risk.text
    assert "the same class in 90 % of the cases" in risk.text
    assert "the ranges that the model may expect: 0 to 1, 0 to 255" in risk.text


def test_the_original_is_no_risk():
    assert (
        assess({"": comparison(None)}, SYNTHETIC, None, unchanged=True).level == "low"
    )


def test_unweighted_ranks_are_a_doubt():
    risk = risk_of(0.01, predicted=None)
    assert risk.level == "moderate"
    assert "The ranks are unweighted" in risk.text


def test_a_doubt_is_said_and_keeps_the_level_from_being_low():
    doubted = ComparisonInputs(
        "fitted samples", {"samples": []}, ("nothing was held out",)
    )
    risk = risk_of(0.01, inputs=doubted)
    assert risk.level == "moderate"
    assert risk.text.startswith("On the samples its outputs differ")
    assert risk.text.endswith(" Nothing was held out.")


@pytest.mark.parametrize(
    ("error", "level"), [(0.01, "unknown"), (0.2, "unknown"), (0.4, "high")]
)
def test_inputs_unlike_real_ones_show_losses_alone(error, level):
    strange = ComparisonInputs("synthetic", {"0 to 1": []}, like_truth=False)
    risk = risk_of(error, inputs=strange)
    assert risk.level == level
    assert ("Send samples" in risk.text) == (level == "unknown")


def test_without_a_calibration_the_risk_is_unknown():
    noise = ComparisonInputs(
        "noise", {"noise": []}, ("the calibration failed: it has a loop",)
    )
    risk = risk_of(0.0, inputs=noise)
    assert risk.level == "unknown"
    assert "by its weights alone" in risk.text
    assert risk.text.endswith("The calibration failed: it has a loop.")


def test_without_outputs_to_compare_the_risk_is_unknown():
    risk = risk_of(None)
    assert risk.level == "unknown"
    assert "no outputs on these inputs" in risk.text


def test_the_text_states_the_evidence():
    risk = risk_of(0.123, 0.875, 0.04)
    assert "12.3 % of their size" in risk.text
    assert "the same class in 88 % of the cases" in risk.text
    assert "20.0 % were predicted" in risk.text


@pytest.mark.parametrize(
    ("spread", "level"),
    [(0.05, "low"), (0.2, "low"), (0.4, "moderate"), (0.6, "high")],
)
def test_the_level_of_a_classifier_stands_on_its_expected_loss_alone(spread, level):
    risk = risk_of(0.5, 0.5, predicted=9.0, spread=spread)
    assert risk.level == level
    loss = risk.expected_loss
    assert loss.low < loss.expected < loss.high
    # at the level's own limits
    assert (loss.high <= 0.05) == (level == "low")
    assert (loss.low >= 0.05) == (level == "high")


def test_the_expected_loss_is_that_of_the_map():
    """Against numpy's own exponential of the printed constants."""
    risk = risk_of(0.1, 0.9, spread=0.5)
    errors = np.array([0.62, 1, 1.52]) * 0.5
    losses = 1 - np.exp(-((errors / 0.88) ** 2.96))
    expected = risk.expected_loss
    assert [expected.low, expected.expected, expected.high] == pytest.approx(losses)
    assert "expected to lose 17 % of its right answers (4 % to 48 %)." in risk.text
    small = risk_of(0.1, 0.9, spread=0.1).text
    assert "expected to lose less than 1 % of its right answers." in small


@pytest.mark.parametrize(
    ("answers", "level"),
    [
        (Answers(400, 300, lost=3, gained=2), "low"),
        (Answers(400, 300, lost=15, gained=3), "moderate"),
        (Answers(400, 300, lost=60, gained=5), "high"),
        # few samples without a change prove little
        (Answers(30, 30, lost=0, gained=0), "moderate"),
        (Answers(60, 50, lost=0, gained=0), "low"),
    ],
)
@pytest.mark.parametrize("spread", [0.01, 0.9])
@pytest.mark.parametrize("source", ["synthetic", "noise"])
def test_answers_to_labelled_samples_alone_decide(answers, level, spread, source):
    inputs = ComparisonInputs(source, {"0 to 1": []}, ("the range is a guess",))
    risk = assess(
        {"0 to 1": comparison(0.5, 0.5, spread)},
        inputs,
        9.0,
        unchanged=False,
        answers=answers,
    )
    assert risk.level == level
    assert risk.expected_loss == answers.loss
    assert f"{answers.right} right answers to the {answers.count} labelled" in risk.text
    assert "guess" not in risk.text


def test_an_original_without_a_right_answer_is_judged_by_its_outputs():
    inputs = {"0 to 1": comparison(0.1, 0.9, 0.9)}
    answers = Answers(20, 0, lost=0, gained=0)
    risk = assess(inputs, SYNTHETIC, 0.01, unchanged=False, answers=answers)
    assert risk.level == "high"
    assert "outputs differ" in risk.text


def test_outputs_that_vary_little_about_a_large_mean_count_by_their_variation():
    """As those of a regression: a constant is near in size, and tells nothing apart."""
    risk = risk_of(0.01, spread=0.9)
    assert risk.level == "high"
    assert "1.0 % of their size, and by 90.0 % of their variation" in risk.text
    assert risk_of(0.01, spread=0.05).level == "low"


def test_of_several_outputs_the_text_has_the_most_that_one_differs_by():
    several = Comparison(("box", "score"), 0.01, None, True, spread_error=0.9)
    risk = assess({"0 to 1": several}, SYNTHETIC, 0.01, unchanged=False)
    assert "by up to 1.0 % of their size" in risk.text
    assert "by up to 90.0 % of their variation" in risk.text


def test_other_models_have_no_expected_loss():
    assert risk_of(0.1, spread=0.5).expected_loss is None


def test_a_doubt_keeps_a_small_expected_loss_from_being_low():
    doubted = ComparisonInputs("synthetic", {"0 to 1": []}, ("the range is a guess",))
    risk = risk_of(0.1, 1.0, inputs=doubted, spread=0.05)
    assert risk.level == "moderate"
    assert risk.expected_loss.high < 0.001


def test_inputs_unlike_real_ones_have_no_expected_loss():
    strange = ComparisonInputs("synthetic", {"0 to 1": []}, like_truth=False)
    risk = risk_of(0.01, 1.0, inputs=strange, spread=0.05)
    assert (risk.level, risk.expected_loss) == ("unknown", None)
    assert "expected" not in risk.text


def quiet_risk(error, predicted=0.01, **members):
    inputs = ComparisonInputs("synthetic", {"0 to 1": []}, quiet=True, **members)
    comparisons = {"0 to 1": comparison(0.99)}
    return assess(comparisons, inputs, predicted, unchanged=False, inner_error=error)


def test_where_the_outputs_say_little_the_activations_decide_and_the_level_is_never_low():
    near = quiet_risk(0.05)
    assert near.level == "moderate"
    assert "the activations before its last layers are compared" in near.text
    assert "5.0 % of their variation" in near.text
    assert "Send samples with objects" in near.text
    assert quiet_risk(0.4).level == "high"
    assert quiet_risk(0.05, predicted=0.82).level == "high"
    assert quiet_risk(0.05, like_truth=False).level == "unknown"
    doubted = quiet_risk(0.05, doubts=("the range is a guess",))
    assert "The range is a guess." in doubted.text


def test_an_original_that_says_little_is_no_risk():
    inputs = ComparisonInputs("synthetic", {"0 to 1": []}, quiet=True)
    same = {"0 to 1": comparison(0.0)}
    assert assess(same, inputs, None, unchanged=True, inner_error=0.1).level == "low"


@pytest.mark.parametrize("error", [0.0, 0.9])
def test_where_the_outputs_say_little_and_no_activations_were_compared_nothing_tells(
    error,
):
    """As after int8: neither a small error of such outputs nor a large one is evidence."""
    doubts = ("the range is a guess",)
    inputs = ComparisonInputs("synthetic", {"0 to 1": []}, doubts, quiet=True)
    risk = assess({"0 to 1": comparison(error)}, inputs, 0.01, unchanged=False)
    assert risk.level == "unknown"
    assert (
        "show neither a loss nor that there is none. The range is a guess." in risk.text
    )

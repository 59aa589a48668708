"""Answers to labels before and after, and the loss that they show."""

import numpy as np
import pytest

from worker.engine.evaluation.answers import Answers
from worker.engine.evaluation.metrics import metric_for


def test_answers_are_compared_sample_by_sample():
    labels = np.array([0, 1, 2, 3, 4])
    before, after = np.array([0, 1, 2, 9, 9]), np.array([0, 9, 9, 3, 9])
    metric = metric_for("top-1", before, labels)
    answers = Answers.of(metric.right(before, labels), metric.right(after, labels))
    assert answers == Answers(5, right=3, lost=2, gained=1)
    assert answers.loss.expected == pytest.approx(1 / 3, abs=1e-6)
    assert answers.loss.low == 0


def test_no_loss_is_told_of_a_model_that_was_never_right():
    assert Answers(20, right=0, lost=0, gained=5).loss is None


def test_a_model_that_gains_answers_loses_none():
    loss = Answers(1000, right=500, lost=2, gained=40).loss
    assert (loss.expected, loss.low, loss.high) == (0, 0, 0)


def test_eight_in_ten_samplings_of_a_true_loss_lie_within_their_band():
    """Each of 400 samples is lost in one case of twenty, and gained in one of fifty."""
    rng = np.random.default_rng(0)
    cases = rng.choice(3, (1000, 400), p=[0.93, 0.05, 0.02])
    within = 0
    for case in cases:
        lost, gained = (case == 1).sum(), (case == 2).sum()
        loss = Answers(400, right=400, lost=int(lost), gained=int(gained)).loss
        within += loss.low <= 0.03 <= loss.high
    assert 800 <= within <= 950


def test_no_more_than_all_right_answers_can_be_lost():
    loss = Answers(10, right=1, lost=0, gained=0).loss
    assert (loss.expected, loss.low, loss.high) == (0, 0, 1)


def test_the_standard_error_is_that_of_answers_that_change_by_chance():
    """Against the deviation of many draws."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(400, [0.03, 0.02, 0.95], 20_000)
    deviation = ((draws[:, 0] - draws[:, 1]) / 400).std()
    expected = Answers(400, 300, lost=12, gained=8).standard_error
    assert expected == pytest.approx(deviation, rel=0.05)


def test_few_samples_without_a_change_do_not_tell_a_loss_exactly():
    assert Answers(50, 40, lost=0, gained=0).standard_error == pytest.approx(0.02)

"""A promise judges tries by its own metric, and tells what each of them gave."""

import pytest

from convpress.max_loss import parse_max_loss
from convpress.refusal import Code
from worker.engine.promise import RISK, Promise

LOSS = Promise(parse_max_loss("1%"), "top-1", 0.8)
LOW = Promise(None, RISK)


@pytest.mark.parametrize(
    ("figure", "is_kept"), [(0.81, True), (0.79, True), (0.789, False)]
)
def test_a_loss_is_that_of_the_metric_from_the_originals_figure(figure, is_kept):
    tried = LOSS.by_figure("40%", 0.41, figure)
    assert tried.loss == pytest.approx(0.8 - figure)
    assert (tried.metric, tried.figure, tried.kept) == ("top-1", figure, is_kept)


@pytest.mark.parametrize(("level", "is_kept"), [("low", True), ("moderate", False)])
def test_low_risk_is_kept_by_no_other_level(level, is_kept):
    tried = LOW.by_level("40%", 0.41, level)
    assert (tried.level, tried.kept, tried.figure, tried.loss) == (
        level,
        is_kept,
        None,
        None,
    )


def test_a_loss_that_no_try_keeps_is_refused_with_each_of_them():
    tries = [LOSS.unreachable("5%"), LOSS.by_figure("95%", 0.95, 0.7)]
    refusal = LOSS.refusal(tries)
    assert refusal.code == Code.BUDGET_UNREACHABLE
    assert (refusal.field, refusal.got) == ("max_loss", "1%")
    assert "5% cannot be reached; 95% loses" in refusal.detail
    assert refusal.expected.startswith(
        "a larger loss, or a budget of FLOPs: the mildest, 95%,"
    )


def test_low_risk_that_no_try_keeps_is_refused_with_what_may_lower_it():
    refusal = LOW.refusal([LOW.by_level("95%", 0.95, "high")])
    assert (refusal.field, refusal.got) == ("flops_budget", "auto")
    assert "95% has high risk" in refusal.detail
    assert refusal.expected.startswith("samples, which may lower the risk")


def test_an_obstacle_at_every_budget_is_named():
    tries = [LOW.by_level("48%", 0.48, "moderate")]
    detail = LOW.refusal(tries, ["the range is a guess", "nothing was held out"]).detail
    assert detail.endswith(
        "no budget helps, since the range is a guess; nothing was held out"
    )

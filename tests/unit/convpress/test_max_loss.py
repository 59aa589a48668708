"""The largest loss: how it is written, and when figures keep it."""

import pytest

from convpress.max_loss import parse_max_loss, require_alone, require_measurable
from convpress.options import JobOptions
from convpress.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "metric", "before", "after", "is_kept"),
    [
        # points of a share
        ("1%", "top-1", 0.80, 0.79, True),
        ("1%", "top-1", 0.80, 0.7899, False),
        ("0.01", "agreement", 1.0, 0.99, True),
        ("0", "agreement", 1.0, 1.0, True),
        ("0%", "agreement", 1.0, 0.999, False),
        # a share of the original's figure
        ("1%", "psnr", 30.0, 29.7, True),
        ("1%", "psnr", 30.0, 29.69, False),
        ("10%", "mse", 2.0, 2.2, True),
        ("10%", "mse", 2.0, 2.3, False),
        ("1%", "score", 75.0, 74.25, True),
        ("1%", "score", 75.0, 74.2, False),
        # amounts
        ("0.4dB", "psnr", 30.0, 29.6, True),
        ("0,4 dB", "psnr", 30.0, 29.5, False),
        ("2", "score", 75.0, 73.0, True),
        ("2", "score, lower is better", 75.0, 77.5, False),
        # what is better is no loss
        ("0", "mse", 2.0, 1.0, True),
        ("0", "psnr", 30.0, 31.0, True),
    ],
)
def test_figures_keep_a_loss_or_not(text, metric, before, after, is_kept):
    assert parse_max_loss(text).is_kept(metric, before, after) is is_kept


@pytest.mark.parametrize(
    "text", ["", "x", "1%%", "-1%", "nan", "101%", "1e9", "1 point", "9" * 99]
)
def test_a_text_that_is_no_loss_is_refused(text):
    with pytest.raises(Refusal) as caught:
        parse_max_loss(text)
    assert (caught.value.code, caught.value.field) == ("budget_invalid", "max_loss")


@pytest.mark.parametrize(
    ("text", "metric", "detail"),
    [
        ("0.4dB", "top-1", "top-1 is not measured in dB"),
        ("1", "agreement", "did you mean 1%"),
        ("0.4dB", "score", "score is not measured in dB"),
    ],
)
def test_a_loss_that_is_none_of_the_metric_is_refused(text, metric, detail):
    with pytest.raises(Refusal, match=detail):
        require_measurable(parse_max_loss(text), metric)


def test_a_rank_contradicts_a_loss():
    with pytest.raises(Refusal, match="fixed rank"):
        require_alone(flops_budget=False, rank=True)


FILE = {"evaluation_sha256": "e" * 64}


@pytest.mark.parametrize(
    ("texts", "options", "code", "field"),
    [
        ({"max_loss": "1%", "flops_budget": "0.5"}, {}, "budget_invalid", "max_loss"),
        ({"max_loss": "1%", "flops_budget": "auto"}, {}, "budget_invalid", "max_loss"),
        ({"max_loss": "0.4dB"}, {}, "budget_invalid", "max_loss"),
        ({"max_loss": "0.4dB"}, FILE, "budget_invalid", "max_loss"),
        ({"max_loss": "1%"}, {"needs_budget": False}, "budget_invalid", "max_loss"),
        (
            {"evaluation_metric": "psnr", "max_loss": "1%"},
            {},
            "evaluation_invalid",
            "evaluation",
        ),
        (
            {"evaluation_output": "y", "max_loss": "1%"},
            {},
            "evaluation_invalid",
            "evaluation",
        ),
        (
            {"evaluation_metric": "top1"},
            FILE,
            "evaluation_invalid",
            "evaluation_metric",
        ),
        (
            {"evaluation_output": "y" * 1001},
            FILE,
            "evaluation_invalid",
            "evaluation_output",
        ),
        ({"params_budget": "auto"}, {}, "budget_invalid", "params_budget"),
    ],
)
def test_options_that_contradict_a_promise_are_refused(texts, options, code, field):
    with pytest.raises(Refusal) as caught:
        JobOptions.parse(texts, **options)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_loss_takes_the_place_of_a_budget():
    assert JobOptions.parse({"max_loss": " 1% "}) == JobOptions({}, max_loss="1%")
    psnr = JobOptions.parse({"max_loss": "0.4dB", "evaluation_metric": "psnr"}, **FILE)
    assert (psnr.evaluation_metric, psnr.max_loss) == ("psnr", "0.4dB")
    assert JobOptions.parse({"max_loss": "2"}, has_score=True).max_loss == "2"
    assert JobOptions.parse({"flops_budget": "AUTO"}).budgets == {
        "flops_budget": "auto"
    }


def test_an_evaluation_has_a_metric():
    options = JobOptions.parse({"flops_budget": "0.5"}, **FILE)
    assert options.evaluation_metric == "top-1"

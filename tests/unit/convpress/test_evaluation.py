"""Metrics: which one a job has, and how its figures and losses are written."""

import pytest

from convpress import evaluation
from convpress.evaluation import METRICS
from convpress.refusal import Refusal


@pytest.mark.parametrize(
    ("metric", "has_file", "chosen"),
    [(None, True, "top-1"), ("psnr", True, "psnr"), (None, False, None)],
)
def test_an_evaluation_has_a_metric(metric, has_file, chosen):
    assert evaluation.choose_metric(metric, None, has_file=has_file) == chosen


@pytest.mark.parametrize(
    ("metric", "output", "field"),
    [
        ("psnr", None, "evaluation_metric"),
        (None, "y", "evaluation_output"),
    ],
)
def test_an_option_without_a_file_is_refused(metric, output, field):
    with pytest.raises(Refusal) as refusal:
        evaluation.choose_metric(metric, output, has_file=False)
    assert (refusal.value.code, refusal.value.field) == (
        "evaluation_invalid",
        "evaluation",
    )
    assert field in refusal.value.detail


def test_a_metric_is_read_or_its_neighbour_is_named():
    assert evaluation.parse_metric("mean-iou") == "mean-iou"
    assert evaluation.parse_metric("") is evaluation.parse_metric(None) is None
    with pytest.raises(Refusal, match="top-1") as refusal:
        evaluation.parse_metric("top1")
    assert refusal.value.field == "evaluation_metric"


def test_the_name_of_an_output_is_bounded():
    assert evaluation.parse_output("") is None
    assert evaluation.parse_output("y" * 1000) == "y" * 1000
    with pytest.raises(Refusal, match="too long") as refusal:
        evaluation.parse_output("y" * 1001)
    assert refusal.value.got == "1001 characters"


@pytest.mark.parametrize(
    ("metric", "before", "after", "loss"),
    [
        ("top-1", 0.8, 0.7, 0.1),
        ("mse", 0.25, 0.5, 0.25),
        ("score", 7, 9, -2),
        (evaluation.LOWER_SCORE, 7, 9, 2),
    ],
)
def test_a_loss_is_positive_where_the_artifact_is_worse(metric, before, after, loss):
    assert METRICS[metric].loss(before, after) == pytest.approx(loss)


def test_a_metric_of_another_version_is_its_own_label():
    kind = evaluation.kind_of("bleu")
    assert (kind.label, kind.text(12.3456789)) == ("bleu", "12.346")

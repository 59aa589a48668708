"""Metrics against plain loops, and the refusals of labels and targets that do not fit."""

import numpy as np
import pytest

from convpress.refusal import Refusal
from worker.engine.evaluation.metrics import metric_for

RNG = np.random.default_rng(0)


def figure(name, output, truth, batch=3):
    """Return a figure that is summed over runs of some samples each."""
    metric = metric_for(name, output[:batch], truth)
    sums = 0
    for start in range(0, len(truth), batch):
        part = slice(start, start + batch)
        sums = sums + metric.sums(output[part], truth[part])
    return metric.figure(sums, len(truth))


@pytest.mark.parametrize("shape", [(7, 4), (7, 4, 1, 1), (7, 1, 1, 4)])
def test_top_one_is_the_share_of_right_classes(shape):
    scores = RNG.standard_normal(shape).astype(np.float32)
    labels = RNG.integers(0, 4, 7)
    right = 0
    for row, label in zip(scores.reshape(7, 4), labels, strict=True):
        right += int(np.argmax(row) == label)
    assert figure("top-1", scores, labels) == right / 7


def test_metrics_of_degrees_have_no_right_answers():
    targets = np.zeros((2, 3), np.float32)
    assert metric_for("mse", targets, targets).right(targets, targets) is None


def test_top_one_takes_class_numbers_too():
    assert figure("top-1", np.array([1, 2, 3, 9]), np.array([1, 2, 0, 9])) == 0.75


@pytest.mark.parametrize(
    ("scale", "low", "peak"), [(1.0, 0.0, 1.0), (2.0, -1.0, 2.0), (200.0, 0.0, 255.0)]
)
def test_psnr_is_the_mean_over_the_images_in_the_usual_range(scale, low, peak):
    targets = (RNG.random((5, 1, 6, 6)) * scale + low).astype(np.float32)
    outputs = (
        targets + RNG.standard_normal(targets.shape).astype(np.float32) * scale / 10
    )
    values = []
    for output, target in zip(
        outputs.astype(float), targets.astype(float), strict=True
    ):
        values.append(20 * np.log10(peak / np.sqrt(np.mean((output - target) ** 2))))
    assert figure("psnr", outputs, targets) == pytest.approx(np.mean(values), rel=1e-6)


def test_psnr_of_the_same_images_is_finite():
    targets = RNG.random((2, 3)).astype(np.float32)
    assert figure("psnr", targets, targets) == pytest.approx(100.0)


def test_mse_is_the_mean_of_squares():
    targets = RNG.standard_normal((5, 3)).astype(np.float32)
    outputs = RNG.standard_normal((5, 3)).astype(np.float32)
    squares = (outputs.astype(float) - targets.astype(float)) ** 2
    assert figure("mse", outputs, targets) == pytest.approx(squares.mean(), rel=1e-6)


def iou(predicted, targets, classes, ignored=255):
    values = []
    for number in classes:
        overlap = union = 0
        for p, t in zip(predicted.ravel(), targets.ravel(), strict=True):
            if t == ignored:
                continue
            overlap += int(p == number and t == number)
            union += int(p == number or t == number)
        values.append(overlap / union)
    return np.mean(values)


def test_mean_iou_counts_pixels_of_all_samples_and_ignores_255():
    scores = RNG.standard_normal((4, 3, 5, 6)).astype(np.float32)
    targets = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    targets[0, :2] = 255
    expected = iou(scores.argmax(1), targets, (0, 1, 2))
    assert figure("mean-iou", scores, targets) == pytest.approx(expected)
    last = np.moveaxis(scores, 1, -1)
    assert figure("mean-iou", last, targets) == pytest.approx(expected)
    assert figure("mean-iou", scores.argmax(1), targets) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["probabilities", "scores"])
def test_mean_iou_of_one_channel_is_that_of_a_threshold(kind):
    scores = RNG.standard_normal((4, 1, 5, 6)).astype(np.float32)
    outputs = 1 / (1 + np.exp(-scores)) if kind == "probabilities" else scores
    targets = RNG.integers(0, 2, (4, 5, 6))
    expected = iou(scores[:, 0] > 0, targets, (0, 1))
    assert figure("mean-iou", outputs, targets) == pytest.approx(expected)


SCORES = np.zeros((2, 3), np.float32)
IMAGES = np.zeros((2, 1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("name", "output", "truth", "detail", "expected"),
    [
        ("top-1", SCORES, np.array([0, 3]), "beyond the 3 classes", "0 to 2"),
        ("top-1", SCORES, np.array([-1, 1]), "beyond the 3 classes", "0 to 2"),
        ("top-1", SCORES, np.array([0.0, 1.0]), "one class number", "whole numbers"),
        ("top-1", SCORES, np.array([[0], [1]]), "one class number", "samples"),
        ("top-1", IMAGES, np.array([0, 1]), "an output of scores", "one vector"),
        ("psnr", IMAGES, np.zeros((2, 1, 4, 5)), "another shape", "?x1x4x4"),
        ("mse", IMAGES, np.full((2, 1, 4, 4), np.nan), "NaN", "finite"),
        (
            "mse",
            np.zeros((2, 3), np.int64),
            np.zeros((2, 3)),
            "no floating-point",
            "floating",
        ),
        (
            "mean-iou",
            IMAGES,
            np.zeros((2, 4, 4)),
            "masks of class numbers",
            "whole numbers",
        ),
        ("mean-iou", IMAGES, np.zeros((2, 5, 4), np.int64), "another size", "?x1x4x4"),
        ("mean-iou", IMAGES, np.full((2, 4, 4), 2), "beyond the classes", "0 to 1"),
        (
            "mean-iou",
            IMAGES,
            np.full((2, 4, 4), 255),
            "the number that is ignored",
            "other numbers",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(
    name, output, truth, detail, expected
):
    with pytest.raises(Refusal, match=detail) as caught:
        metric_for(name, output, truth)
    assert (caught.value.code, caught.value.field) == (
        "evaluation_invalid",
        "evaluation",
    )
    assert expected in caught.value.expected

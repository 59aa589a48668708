"""Which outputs are a classifier's, and their log-probabilities."""

import pytest
import torch

from worker.engine.calibration.class_scores import (
    are_surely_classes,
    class_scores,
    scores_of,
)

LOGITS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "outputs",
    [LOGITS, LOGITS.softmax(1), LOGITS.log_softmax(1), LOGITS[:, :, None, None]],
)
def test_logits_and_probabilities_give_the_same_scores(outputs):
    torch.testing.assert_close(
        class_scores([outputs], 8), LOGITS.log_softmax(1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "outputs",
    [
        [LOGITS, LOGITS],
        [LOGITS[:, :1]],
        [LOGITS.argmax(1)],
        [LOGITS.sum()],
        [LOGITS.reshape(4, 10)],
        [LOGITS[:, :, None].expand(8, 5, 2)],
        [[LOGITS]],
        [LOGITS[:, 0]],
    ],
)
def test_other_outputs_are_no_classifiers(outputs):
    assert class_scores(outputs, 8) is None


@pytest.mark.parametrize("classes", [1, 5])
def test_an_output_without_rows_has_no_scores(classes):
    assert scores_of([torch.zeros(0, classes)]) is None


def test_the_number_of_images_is_that_of_the_first_output():
    torch.testing.assert_close(scores_of([LOGITS]), LOGITS.log_softmax(1))
    assert scores_of([LOGITS[0]]) is None
    assert scores_of([[LOGITS]]) is None


def test_a_single_image_has_scores_too():
    torch.testing.assert_close(class_scores([LOGITS[:1]], 1), LOGITS[:1].log_softmax(1))
    assert class_scores([LOGITS[:1].reshape(1, 5, 1, 1)], 1).shape == (1, 5)
    assert class_scores([LOGITS.reshape(1, 8, 5)], 1) is None


@pytest.mark.parametrize(
    ("output", "are_sure"),
    [
        (LOGITS, False),
        (LOGITS.softmax(1), True),
        (LOGITS.softmax(1)[:, :, None, None], True),
        (LOGITS.sigmoid(), False),
        (LOGITS.repeat(1, 2), True),
    ],
)
def test_probabilities_or_many_scores_are_surely_of_classes(output, are_sure):
    assert are_surely_classes([output], 8) == are_sure

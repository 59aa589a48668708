"""Value ranges: those that the user stated, the known ones, and those that a classifier fits."""

import numpy as np
import pytest
import torch

from convpress.calibration import InputValues
from convpress.refusal import Code, Refusal
from worker.engine.calibration.inputs.ranges import (
    are_told_apart,
    known_ranges,
    ranges_by_scores,
    stated_range,
)

RAMP = np.linspace(0, 1, 5, dtype=np.float32)


def images(channels):
    return np.tile(RAMP, (2, channels, 1))


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (0.0, 255.0), (-123.7, -3.0)])
def test_told_limits_are_the_least_and_the_greatest_value(limits):
    scaled = stated_range(InputValues(limits, None, None), 3).apply(images(3))
    np.testing.assert_allclose(
        (scaled.min(), scaled.max()), limits, rtol=1e-5, atol=1e-5
    )


def test_told_means_and_deviations_standardise_each_channel():
    mean = (0.5, 0.4, 0.3)
    deviation = (0.2, 0.5, 1.0)
    scaled = stated_range(InputValues(None, mean, deviation), 3).apply(images(3))
    for channel in range(3):
        np.testing.assert_allclose(
            scaled[0, channel], (RAMP - mean[channel]) / deviation[channel], rtol=1e-5
        )


def test_one_told_number_holds_for_all_channels():
    np.testing.assert_allclose(
        stated_range(InputValues(None, (0.5,), (0.25,)), 4).apply(images(4)),
        (images(4) - 0.5) / 0.25,
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [("input_mean", ((0.1, 0.2), (1.0,))), ("input_std", ((0.1,), (1.0, 2.0)))],
)
def test_numbers_that_do_not_fit_the_channels_are_refused(field, values):
    with pytest.raises(Refusal) as refused:
        stated_range(InputValues(None, *values), 3)
    assert refused.value.code == Code.INPUT_RANGE_INVALID
    assert refused.value.field == field


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_known_range_applies_to_every_image(channels):
    for known in known_ranges(3) + known_ranges(channels):
        scaled = known.apply(images(channels))
        assert scaled.shape == (2, channels, 5)
        assert scaled.dtype == np.float32
        assert (np.diff(scaled, axis=-1) > 0).all()


def scores(scale):
    return torch.log_softmax(
        scale * torch.randn(64, 10, generator=torch.Generator().manual_seed(0)), 1
    )


def test_the_range_is_one_in_which_images_differ_but_not_beyond_what_training_gives():
    flat, apart, beyond, *_ = known_ranges(3)
    assert ranges_by_scores(
        {flat: scores(0.01), apart: scores(5), beyond: scores(200)}
    ) == (apart,)


def test_samples_with_certain_scores_are_told_apart_and_those_in_a_far_too_large_range_not():
    assert [are_told_apart(scores(scale)) for scale in (0.01, 5, 25, 255 * 5)] == [
        False,
        True,
        True,
        False,
    ]


def test_ranges_that_serve_alike_are_all_covered():
    one, other, flat, *_ = known_ranges(3)
    assert ranges_by_scores(
        {one: scores(5), other: scores(4.9), flat: scores(0.01)}
    ) == (
        one,
        other,
    )


def test_where_all_scores_are_beyond_plausible_they_are_compared_all_the_same():
    one, other, *_ = known_ranges(3)
    assert ranges_by_scores({one: scores(300), other: scores(400)}) == (one, other)


def test_a_classifier_that_tells_nothing_apart_leaves_all_ranges():
    constant = torch.log_softmax(torch.tensor([0.3, 0.1, -0.7]), 0).expand(16, 3)
    known = known_ranges(3)
    assert ranges_by_scores(dict.fromkeys(known, constant)) == known

"""Whole calibrations: their account, and models that teach nothing or little."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.calibrations import (
    RNG,
    SMALL,
    A,
    judging_batches,
    of,
    pooled,
    telling,
)
from support.engine.programs import layer, norm

from worker.engine.calibration.calibrate import calibrate
from worker.engine.calibration.harness import WeakCalibrationError
from worker.engine.program import NoProgramError


def test_with_normalisation_images_are_distilled_in_the_range_that_its_statistics_tell():
    stored = norm(RNG(2), 4)
    images = 255 * (0.47 + 0.25 * RNG(0).standard_normal((64, 3, 16, 16)))
    behind = torch.nn.functional.conv2d(
        torch.from_numpy(images).float(), *map(torch.from_numpy, (A.weight, A.bias))
    )
    variance, mean = torch.var_mean(behind, (0, 2, 3))
    stored.mean.copy_(mean)
    stored.variance.copy_(variance)
    calibration = of(("a", A), stored, torch.relu, pooled)
    report = calibration.report_members
    assert report["ranges"] == ["0 to 255"]
    assert report["kind"] == "distilled"
    assert report["images"] == 64
    assert report["steps"] == 40
    assert calibration.batches[0]["v0"].shape == (32, 3, 16, 16)
    assert calibration.batches[0]["v0"].max() > 100
    assert calibration.moments.by_site["a"].mean.shape == (1, 27)


def test_a_layer_that_sees_one_row_an_image_leaves_no_direction_out():
    """The covariance of 48 numbers is singular for 16 images: 32 directions would cost nothing."""
    wide = layer(RNG(5), (48, 3, 3, 3), padding=1)
    last = layer(RNG(6), (24, 48))
    few = replace(SMALL, most_images=16)
    calibration = of(("wide", wide), torch.relu, pooled, ("last", last), effort=few)
    covariance = calibration.moments.by_site["last"].covariance[0]
    assert np.linalg.eigvalsh(covariance)[0] > 0.01 * covariance.trace() / 48


def test_distilling_tells_how_far_it_is():
    _, shares = telling(("a", A), norm(RNG(2), 4), torch.relu, pooled)
    # the trials of five ranges
    assert shares[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    # one batch to choose the refit by, three to judge by (as many ranges are plausible), two to
    # fit on, of twice as many steps: 240 runs for each image to fit on, and four for its moments
    distilled = [240 / 244 * steps / 8 for steps in (1, 2, 3, 4, 6, 8)]
    assert shares[5:] == pytest.approx([0.1 + 0.9 * share for share in distilled])


def test_the_effort_says_how_much_of_the_measuring_the_trials_and_the_judging_take():
    effort = replace(SMALL, trials_share=0.3, judging_share=0.7, most_images=8)
    _, shares = telling(("a", A), torch.relu, effort=effort)
    assert shares[:5] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])
    assert shares[5] == pytest.approx(0.7)
    assert shares[6:] == sorted(shares[6:])
    assert shares[-1] <= 1


def test_where_distilling_would_take_too_long_the_twin_serves():
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, macs=10**10)
    report = calibration.report_members
    assert (report["kind"], report["twin"]) == ("synthetic", True)
    assert len(calibration.moments.batchnorm) == 1


def test_where_there_are_no_gradients_the_twin_serves_and_the_report_says_why():
    calibration = of(
        ("a", A),
        lambda x: torch.from_numpy(x.numpy()),
        norm(RNG(2), 4),
        torch.relu,
        pooled,
    )
    report = calibration.report_members
    assert (report["kind"], report["twin"]) == ("synthetic", True)
    assert report["notes"][0].startswith("not distilled: the model has no gradients: ")


def test_without_normalisation_a_classifiers_images_are_distilled_by_its_classes():
    calibration = of(("a", A), torch.relu, pooled)
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert report["images"] == 64
    assert report["steps"] == 5
    assert report["ranges_from"] == "the model's class scores on synthetic images"


def test_without_normalisation_and_classes_images_serve_as_they_are():
    calibration = of(("a", A), torch.relu)
    assert (calibration.report_members["kind"], calibration.report_members["twin"]) == (
        "synthetic",
        False,
    )
    assert (
        calibration.report_members["ranges_from"]
        == "usual ranges, since the model's outputs favour none"
    )
    assert not calibration.moments.batchnorm
    compared = judging_batches(calibration)
    judging = [batch["v0"] for batch in (*calibration.held_out, *compared)]
    assert len(judging) >= 2
    assert all(
        not torch.equal(one, batch["v0"])
        for one in judging
        for batch in calibration.batches
    )
    assert not torch.equal(calibration.held_out[0]["v0"], compared[0]["v0"])


def test_no_more_samples_are_made_than_memory_holds():
    effort = replace(SMALL, image_bytes=32 * 3 * 16 * 16 * 4)
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["images"] == 32


def test_plain_images_join_few_that_were_distilled_by_classes_alone():
    # 128 images by 5 steps of three runs each
    effort = replace(SMALL, most_images=256, image_macs=15 * 128 * 1000)
    calibration = of(("a", A), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert report["distilled"] == 128
    assert report["images"] == 192
    images = torch.cat([batch["v0"] for batch in calibration.batches])
    assert len(images.unique(dim=0)) == 192
    # Plain images would not have the stored statistics.
    calibration = of(("a", A), norm(RNG(2), 4), torch.relu, pooled, effort=effort)
    report = calibration.report_members
    assert report["distilled"] == report["images"] < 192


@pytest.mark.slow
def test_images_of_a_large_model_without_a_head_are_made_small_enough_to_distil():
    stored = norm(RNG(2), 4)
    shape = (1, 3, 256, 256)
    # at 64 a side 17 steps are affordable, at 32 all of them
    macs = 25_000_000_000
    calibration = of(("a", A), stored, torch.relu, shape=shape, macs=macs)
    assert calibration.report_members["kind"] == "distilled"
    assert calibration.batches[0]["v0"].shape[2:] == (32, 32)
    # no step is affordable at either size
    calibration = of(("a", A), stored, torch.relu, shape=shape, macs=10 * macs)
    assert calibration.report_members["kind"] == "synthetic"
    assert calibration.batches[0]["v0"].shape[2:] == (64, 64)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((1, 3), 3),
        ((1, 3, 20), 3),
        pytest.param((1, 3, 1, 9), 3, marks=pytest.mark.slow),
        pytest.param((1, 2, 5, 6, 7), 2, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_vectors_signals_and_volumes_are_served_alike(shape, channels):
    site = layer(RNG(1), (4, channels, *(1,) * (len(shape) - 2)))
    calibration = of(("a", site), norm(RNG(2), 4), torch.relu, shape=shape)
    moments = calibration.moments.by_site["a"]
    report = calibration.report_members
    assert report["kind"] == "distilled"
    assert np.isfinite(moments.covariance).all()
    assert (np.diag(moments.covariance[0]) > 0).all()


def test_indices_teach_nothing():
    with pytest.raises(
        WeakCalibrationError,
        match="no input of the model is a batch of images, signals or",
    ):
        of(lambda x: x.float(), dtype="int64", shape=(1, 7))


def test_a_model_that_cannot_be_taken_apart_says_why():
    def fail():
        raise NoProgramError("it has a loop")

    model = SimpleNamespace(program=fail, inputs=[])
    with pytest.raises(
        WeakCalibrationError, match="the model cannot be taken apart: it has a loop"
    ):
        calibrate(model, {}, {}, 1, None, None, lambda _: None)


def test_sites_without_finite_inputs_are_named():
    calibration = of(
        ("a", A), torch.log, ("b", layer(RNG(1), (2, 4, 1, 1))), torch.nan_to_num
    )
    assert set(calibration.moments.by_site) == {"a"}
    report = calibration.report_members
    assert report["notes"] == [
        "by their weights alone, since no finite inputs reach them: b"
    ]

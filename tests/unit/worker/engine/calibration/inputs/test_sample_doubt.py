"""Samples that are unlike the inputs that a model was trained on."""

import numpy as np
import pytest
from digits import MODELS, split
from support.engine.calibrations import SMALL

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.probing import Trials
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.inputs.real_samples import real_batches
from worker.engine.calibration.inputs.sample_doubt import doubt_of_samples
from worker.engine.calibration.run_size import build_harness
from worker.engine.formats import open_model

RNG = np.random.default_rng(0)


def doubt_of(name, images):
    """Return the doubt of images as samples of a network for digits."""
    model = open_model("onnx", MODELS / name)
    harness = build_harness(model.program(), model.inputs, model.bind(None), SMALL)
    [image] = harness.images
    batches = real_batches(harness, {image.name: images}, 64)
    trials = Trials(dead_leaves, known_ranges(1), 16)
    return doubt_of_samples(harness, batches, trials)


def digits():
    _, (images, _) = split()
    return images[:40]


@pytest.mark.parametrize("name", ["plain.onnx", "batchnorm_bn.onnx"])
@pytest.mark.parametrize(("scale", "fits"), [(1, True), (255, False), (1 / 255, False)])
def test_samples_in_another_range_than_the_model_was_trained_on_are_doubted(
    name, scale, fits
):
    doubt = doubt_of(name, digits()[:12] * np.float32(scale))
    assert (doubt is None) == fits


def test_samples_of_another_kind_are_doubted_where_synthetic_images_say_far_more():
    """Noise of the digits' own mean and deviation is told apart by chance."""
    images = digits()
    noise = images.mean() + images.std() * RNG.standard_normal(images.shape)
    doubt = doubt_of("batchnorm.onnx", noise.astype(np.float32))
    assert "tells synthetic images far better apart" in doubt
    assert doubt_of("batchnorm.onnx", images) is None


def test_samples_too_few_to_tell_are_not_doubted():
    assert doubt_of("plain.onnx", digits()[:3] * np.float32(255)) is None

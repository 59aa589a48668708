"""Synthetic images of any size, the same for the same seed, with statistics of natural images."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import noisy, remembered, softened
from worker.engine.calibration.inputs.mosaics import mosaics

GENERATORS = [dead_leaves, mosaics]
SIZES = [(), (1,), (50,), (1, 9), (9, 16), (4, 5, 6)]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_they_have_any_channels_and_any_size_and_values_around_0_to_1(
    generator, size, channels
):
    images = generator(3, channels, size, 5)
    assert images.shape == (3, channels, *size)
    assert images.dtype == np.float32
    assert -0.3 <= images.min() < images.max() <= 1.3
    assert (generator(3, channels, size, 5) == images).all()
    assert not (generator(3, channels, size, 6) == images).all()
    assert not (images[0] == images[1]).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_count_of_0_gives_no_images(generator):
    assert generator(0, 3, (8, 8)).shape == (0, 3, 8, 8)


def test_the_two_generators_differ_for_the_same_seed():
    assert not (dead_leaves(1, 3, (8, 8)) == mosaics(1, 3, (8, 8))).any()


@pytest.mark.parametrize("generator", GENERATORS)
def test_power_falls_with_frequency_as_in_natural_images(generator):
    images = generator(24, 1, (64, 64))[:, 0]
    power = (
        np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2
    ).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    bands = [(2, 4), (4, 8), (8, 16), (16, 32)]
    octaves = [
        power[(low / 64 <= frequency) & (frequency < high / 64)].mean()
        for low, high in bands
    ]
    falls = np.log2(np.array(octaves[:-1]) / octaves[1:])
    assert (falls > 1).all()  # white noise: 0; natural images: about 2
    assert (falls < 3.5).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_neighbouring_colours_and_channels_go_together(generator):
    images = generator(24, 3, (32, 32))
    across = np.corrcoef(images[:, 0].ravel(), images[:, 1].ravel())[0, 1]
    left = images[..., :-1].ravel()
    right = images[..., 1:].ravel()
    along = np.corrcoef(left, right)[0, 1]
    assert 0.5 < across < along < 1


def test_noise_of_another_strength_lies_over_every_image():
    plain = dead_leaves(64, 3, (16, 16), 5)
    under = noisy(dead_leaves)(64, 3, (16, 16), 5)
    deviations = (under - plain).std((1, 2, 3))
    assert deviations.min() < 0.02 < 0.18 < deviations.max() < 0.23
    assert (noisy(dead_leaves)(64, 3, (16, 16), 5) == under).all()
    assert noisy(mosaics)(2, 1, (), 0).shape == (2, 1)


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_second_image_has_soft_edges(generator):
    images = softened(generator)(33, 1, (32, 32), 5)
    steps = np.abs(np.diff(images, axis=-1)).max((1, 2, 3))
    assert images.shape == (33, 1, 32, 32)
    assert np.median(steps[::2]) < np.median(steps[1::2])
    large = generator(17, 1, (64, 64), 5).reshape(17, 1, 32, 2, 32, 2)
    np.testing.assert_allclose(images[::2], large.mean((3, 5)), atol=1e-6)
    assert (images[1::2] == generator(16, 1, (32, 32), 5)).all()
    assert (softened(generator)(33, 1, (32, 32), 5) == images).all()
    assert softened(generator)(3, 2, (5,), 5).shape == (3, 2, 5)
    assert softened(generator)(1, 2, (), 5).shape == (1, 2)


def test_a_remembered_generator_draws_each_set_of_images_once():
    drawn = []

    def generator(*asked):
        drawn.append(asked)
        return dead_leaves(*asked)

    draw = remembered(generator)
    first = draw(2, 3, [8, 8], 5)
    assert draw(2, 3, (8, 8), 5) is first
    assert (first == dead_leaves(2, 3, (8, 8), 5)).all()
    assert draw(2, 3, (8, 8), 6) is not first
    assert len(drawn) == 2

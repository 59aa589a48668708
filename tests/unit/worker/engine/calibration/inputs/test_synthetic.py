"""Synthetic images: of any size, the same for the same seed, and like natural ones in what they are made of."""

import numpy as np
import pytest

from worker.engine.calibration.inputs import synthetic
from worker.engine.calibration.inputs.synthetic import dead_leaves, mosaics, noisy, softened

GENERATORS = [dead_leaves, mosaics]
SIZES = [(), (1,), (50,), (1, 9), (9, 16), (4, 5, 6)]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_they_have_any_channels_and_any_size_and_values_around_0_to_1(generator, size, channels):
    images = generator(3, channels, size, 5)
    assert (images.shape, images.dtype) == ((3, channels, *size), np.float32)
    assert -0.3 <= images.min() < images.max() <= 1.3
    assert (generator(3, channels, size, 5) == images).all()
    assert not (generator(3, channels, size, 6) == images).all()
    assert not (images[0] == images[1]).all()


@pytest.mark.parametrize("generator", GENERATORS)
def test_none_are_made_where_none_are_wanted(generator):
    assert generator(0, 3, (8, 8)).shape == (0, 3, 8, 8)


def test_the_two_generators_differ_for_the_same_seed():
    assert not (dead_leaves(1, 3, (8, 8)) == mosaics(1, 3, (8, 8))).any()


@pytest.mark.parametrize("generator", GENERATORS)
def test_power_falls_with_frequency_as_in_natural_images(generator):
    images = generator(24, 1, (64, 64))[:, 0]
    power = (np.abs(np.fft.fft2(images - images.mean((1, 2), keepdims=True))) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    bands = [(2, 4), (4, 8), (8, 16), (16, 32)]
    octaves = [
        power[(low / 64 <= frequency) & (frequency < high / 64)].mean() for low, high in bands
    ]
    falls = np.log2(np.array(octaves[:-1]) / octaves[1:])
    assert (falls > 1).all()  # white noise: 0; natural images: about 2
    assert (falls < 3.5).all()


class Drawn:
    """Draws for three leaves of 64 x 48: a ball, a box and one turned by an eighth, of radius 10 and half as narrow."""

    def __init__(self):
        self._random = [np.full(3, 0.34), np.tile([0.25, 0.5], (3, 1)), np.array([0.1, 0.9, 0.9])]

    def random(self, shape):
        return self._random.pop(0)

    def standard_normal(self, shape):
        return np.array([np.eye(2), np.eye(2), [[1.0, -1.0], [1.0, 1.0]]])

    def uniform(self, low, high, shape):
        return np.full(shape, 0.5)


def test_leaves_are_balls_and_turned_boxes():
    ball, box, turned = synthetic._leaf(3, (64, 48), Drawn())
    y, x = np.indices((64, 48)) - np.array([16, 24])[:, None, None]
    np.testing.assert_array_equal(ball, y**2 + x**2 < 100)
    np.testing.assert_array_equal(box, (abs(y) < 10) & (abs(x) < 5))
    along, across = (y + x) / np.sqrt(2), (x - y) / np.sqrt(2)
    ways = [(abs(a) < 10) & (abs(b) < 5) for a, b in ((along, across), (across, along))]
    assert any((turned == way).all() for way in ways)


def test_cells_of_mosaics_are_what_is_nearest_to_their_points(monkeypatch):
    rng = np.random.default_rng((5, 1))
    cells = int(rng.integers(6, 48))
    points = rng.random((cells, 2)) * [20, 30]
    monkeypatch.setattr(synthetic, "_colours", lambda *_: np.eye(cells, dtype=np.float32))
    monkeypatch.setattr(synthetic, "_clouds", lambda channels, size, _: np.zeros((channels, *size)))
    (image,) = mosaics(1, cells, (20, 30), 5)
    offsets = np.indices((20, 30)) - points[:, :, None, None]
    np.testing.assert_array_equal(image.argmax(0), (offsets**2).sum(1).argmin(0))


@pytest.mark.parametrize("generator", GENERATORS)
def test_neighbouring_colours_and_channels_go_together(generator):
    images = generator(24, 3, (32, 32))
    across = np.corrcoef(images[:, 0].ravel(), images[:, 1].ravel())[0, 1]
    beside = np.corrcoef(images[..., :-1].ravel(), images[..., 1:].ravel())[0, 1]
    assert 0.5 < across < beside < 1


def test_noise_of_another_strength_lies_over_every_image():
    plain, under = (made(64, 3, (16, 16), 5) for made in (dead_leaves, noisy(dead_leaves)))
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

"""Spectrograms and cepstral coefficients against their definitions."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.sensors.sounds import RATE, other_sounds, sounds
from worker.engine.calibration.inputs.sensors.spectrograms import spectrograms


def tone(hertz, loudness=0.5):
    """Return a maker of sounds that are one tone."""

    def make(count, length, _seed):
        wave = loudness * np.sin(2 * np.pi * hertz * np.arange(length) / RATE)
        return np.tile(wave, (count, 1))

    return make


def silence(count, length, _seed):
    return np.zeros((count, length))


@pytest.mark.parametrize(
    ("channels", "size"),
    [(1, (49, 10)), (1, (40, 98)), (2, (64, 101)), (40, (60,)), (13, (30,))],
)
@pytest.mark.parametrize("make", [sounds, other_sounds])
def test_they_have_the_shape_of_the_input_and_values_around_0_to_1(
    make, channels, size
):
    images = spectrograms(make)(2, channels, size, 5)
    assert images.shape == (2, channels, *size)
    assert images.dtype == np.float32
    assert -0.3 <= images.min() < images.max() <= 1.3
    assert (spectrograms(make)(2, channels, size, 5) == images).all()
    assert not (spectrograms(make)(2, channels, size, 6) == images).all()


@pytest.mark.parametrize(
    ("size", "axis"), [((40, 98), 0), ((98, 40), 1)], ids=["bands first", "time first"]
)
def test_the_longer_axis_is_time_and_a_higher_tone_lies_in_a_higher_band(size, axis):
    bands = []
    for hertz in (300, 1000, 4000):
        image = spectrograms(tone(hertz))(1, 1, size, 0)[0, 0]
        over_time = image.mean(1 - axis)
        assert np.ptp(image, axis=1 - axis).max() < 0.3
        bands.append(int(over_time.argmax()))
    assert bands == sorted(set(bands))


def test_with_one_axis_the_channels_are_bands():
    image = spectrograms(tone(1000))(1, 40, (60,), 0)[0]
    [band] = {int(column.argmax()) for column in image.T}
    assert 0 < band < 39


def test_silence_is_0_and_ten_times_the_amplitude_adds_twenty_decibels():
    assert (spectrograms(silence)(1, 1, (40, 98), 0) == 0).all()
    loud = spectrograms(tone(1000, 0.5))(1, 1, (40, 98), 0).max()
    quiet = spectrograms(tone(1000, 0.05))(1, 1, (40, 98), 0).max()
    # 20 dB are 2 ln 10 in the logarithm of the power, of 22 from 0 to 1
    assert loud - quiet == pytest.approx(2 * np.log(10) / 22, rel=0.02)


def test_the_first_coefficient_is_the_loudness_and_the_others_vary_about_one_level():
    silent = spectrograms(silence)(1, 1, (49, 10), 0)[0, 0]
    assert silent[:, 0] == pytest.approx(0, abs=1e-6)
    assert silent[:, 1:] == pytest.approx(0.8, abs=1e-6)
    images = spectrograms(sounds)(16, 1, (49, 10), 0)
    deviations = images.std((0, 1, 2))
    assert deviations[0] > 2 * deviations[1:].max()
    assert (np.diff(deviations[[1, 4, 9]]) < 0).all()

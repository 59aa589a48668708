"""Synthetic sounds: events that swell and die away over a quiet background."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.sensors.sounds import RATE, other_sounds, sounds


@pytest.mark.parametrize("make", [sounds, other_sounds])
def test_sounds_are_the_same_for_the_same_seed_and_of_any_length(make):
    waves = make(3, 5000, 1)
    assert waves.shape == (3, 5000)
    assert (make(3, 5000, 1) == waves).all()
    assert not (make(3, 5000, 2) == waves).any()
    assert make(0, 100, 0).shape == (0, 100)
    assert np.isfinite(make(2, 1, 0)).all()


def test_sounds_to_judge_by_are_others():
    assert not (sounds(2, 4000, 0) == other_sounds(2, 4000, 0)).any()


@pytest.mark.parametrize("make", [sounds, other_sounds])
def test_loudness_changes_within_a_sound_and_from_one_to_another(make):
    waves = make(16, RATE, 0)
    loudness = np.sqrt(np.square(waves.reshape(16, 50, -1)).mean(2))
    decibels = 20 * np.log10(loudness)
    assert np.median(np.ptp(decibels, axis=1)) > 20
    assert np.ptp(decibels.max(1)) > 10


def test_low_frequencies_have_more_power_than_high_ones_as_in_speech():
    power = np.square(np.abs(np.fft.rfft(sounds(16, RATE, 0)))).mean(0)
    assert power[100:1000].mean() > 10 * power[4000:].mean()

"""Synthetic signals of sensors: rhythms, pulses, steps and noise in channels that go together."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.sensors.signals import other_signals, signals

MAKERS = [signals, other_signals]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("length", [1, 17, 200])
@pytest.mark.parametrize("channels", [1, 6])
def test_they_have_any_channels_and_any_length(make, length, channels):
    images = make(3, channels, (length,), 5)
    assert images.shape == (3, channels, length)
    assert images.dtype == np.float32
    assert np.isfinite(images).all()
    assert (make(3, channels, (length,), 5) == images).all()
    assert not (make(3, channels, (length,), 6) == images).any()


@pytest.mark.parametrize("make", MAKERS)
def test_values_lie_around_the_middle_with_quiet_and_loud_signals(make):
    images = make(64, 3, (200,), 0)
    assert images.mean() == pytest.approx(0.5, abs=0.03)
    deviations = images.std(2).mean(1)
    assert deviations.min() < 0.1 < 0.2 < deviations.max() < 0.6


@pytest.mark.parametrize("make", MAKERS)
def test_channels_are_mixtures_of_fewer_sources(make):
    shares = []
    for image in make(32, 12, (200,), 0):
        centred = image - image.mean(1, keepdims=True)
        energies = np.square(np.linalg.svd(centred, compute_uv=False))
        shares.append(energies[:4].sum() / energies.sum())
    assert np.median(shares) > 0.9

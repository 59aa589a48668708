"""Noise with the spectrum of natural images."""

import numpy as np
import pytest
import torch

from worker.engine.calibration.inputs.frequency import (
    natural_amplitudes,
    shape_spectrum,
)


@pytest.mark.parametrize("size", [(16, 16), (5, 7), (31,), (4, 5, 6)], ids=str)
def test_shaped_noise_keeps_its_variance_and_falls_with_frequency(size):
    noise = torch.from_numpy(
        np.random.default_rng(0).standard_normal((400, 2, *size)).astype(np.float32)
    )
    shaped = shape_spectrum(noise, natural_amplitudes(size))
    assert shaped.shape == noise.shape
    assert float(shaped.std()) == pytest.approx(1, rel=0.05)
    power = (
        torch.fft.fftn(shaped, dim=tuple(range(2, shaped.dim())))
        .abs()
        .square()
        .mean((0, 1))
    )
    axis = power[(0,) * (len(size) - 1)][1 : (size[-1] + 1) // 2]
    frequency = torch.arange(1, len(axis) + 1)
    lowest = max(1, size[-1] / max(size))
    expected = (frequency / lowest).clamp_min(1) ** -2.0
    torch.testing.assert_close(axis / axis[0], expected / expected[0], rtol=0.3, atol=0)

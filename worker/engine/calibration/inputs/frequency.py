"""Noise with the spectrum of natural images."""

from collections.abc import Sequence

import torch
from torch import Tensor


def natural_amplitudes(size: Sequence[int]) -> Tensor:
    """Return the amplitude of each frequency `(*size)` in natural images, of mean square 1.

    Amplitudes fall as 1/f, from the lowest frequency that fits into the size: every octave is as
    strong as any other. White noise times these amplitudes keeps its variance.

    >>> amplitudes = natural_amplitudes((8, 6))
    >>> amplitudes.shape
    torch.Size([8, 6])
    >>> bool(amplitudes[0, 1] > amplitudes[0, 2])
    True
    """
    axes = len(size)
    square = torch.zeros(())
    for axis, length in enumerate(size):
        bins = torch.fft.fftfreq(length)
        own = bins.square()
        later_axes = axes - 1 - axis
        behind = (1,) * later_axes
        square = square + own.reshape(-1, *behind)
    # The frequency 0 would get an infinite amplitude.
    lowest = 1 / max(size, default=1)
    root = square.sqrt()
    frequency = root.clamp_min(lowest)
    amplitudes = frequency.reciprocal()
    mean_square = amplitudes.square().mean()
    return amplitudes / mean_square.sqrt()


def shape_spectrum(noise: Tensor, amplitudes: Tensor) -> Tensor:
    """Return noise `(images, channels, *size)` times these amplitudes over frequency."""
    axes = tuple(range(2, noise.dim()))
    size = noise.shape[2:]
    if not axes:
        return noise
    # The spectrum of real values mirrors itself: half of it is enough.
    frequencies = size[-1] // 2 + 1
    half = amplitudes[..., :frequencies]
    spectrum = torch.fft.rfftn(noise, dim=axes)
    shaped: Tensor = torch.fft.irfftn(spectrum * half, s=size, dim=axes)
    return shaped

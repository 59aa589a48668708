"""Spectrograms and cepstra of synthetic sounds, as networks for sounds take them.

The power of short overlapping frames is summed in bands of the mel scale. A spectrogram is its
logarithm; cepstral coefficients (MFCCs) are the discrete cosine transform of that over the bands.

Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word
recognition in continuously spoken sentences", IEEE TASSP 28 (1980).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from worker.engine.calibration.inputs.generators import Generator, Images, Size
from worker.engine.calibration.inputs.sensors.sounds import RATE, Sounds

MOST_COEFFICIENTS = 20
"""Networks take at most this many cepstral coefficients, and more bands of a spectrogram."""

# Seconds from frame to frame, and the length of a frame in such steps.
_STEPS = (0.010, 0.0125, 0.020)
_FRAME = 2.5
# Points of the transform of a frame.
_POINTS = 1024
# The bands lie between these frequencies in hertz.
_LOWEST = 40.0
_HIGHEST = 7600.0
# Bands that coefficients are computed from, where there are fewer coefficients.
_BANDS = 40
# The logarithms of the power of a silent and of a loud band: values of 0 and 1.
_SILENT = -14.0
_LOUD = 8.0
# The first coefficient is -1 in silence. All of them are mapped from this to 0, and from that to 1.
_LEAST_COEFFICIENT = -1.0
_MOST_COEFFICIENT = 0.25

Floats = NDArray[np.float64]


def spectrograms(make_sounds: Sounds) -> Generator:
    """Return a generator of spectrograms of sounds, or of cepstral coefficients where those fit.

    Of two axes the longer one is time, and the other one has the features; with one axis the
    channels are the features. Up to 20 features are coefficients. Values are around 0 to 1.

    >>> from worker.engine.calibration.inputs.sensors.sounds import sounds
    >>> spectrograms(sounds)(2, 1, (49, 10), 0).shape, spectrograms(sounds)(1, 40, (98,), 0).shape
    ((2, 1, 49, 10), (1, 40, 98))
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        rng = np.random.default_rng((seed, 7))
        images = np.empty((count, channels, *size), np.float32)
        has_channels = len(size) > 1
        frames = max(size)
        features = min(size) if has_channels else channels
        # an image's own axes are time and features in this case, and the reverse otherwise
        is_turned = has_channels and size[0] > size[1]
        for image in images:
            step = int(rng.choice(_STEPS) * RATE)
            length = int((frames - 1 + _FRAME) * step)
            waves = make_sounds(
                channels if has_channels else 1, length, int(rng.integers(1 << 31))
            )
            tables = np.stack([_table(wave, step, frames, features) for wave in waves])
            image[:] = (tables.swapaxes(1, 2) if is_turned else tables).reshape(
                image.shape
            )
        return images

    return generate


def _table(wave: Floats, step: int, frames: int, features: int) -> Floats:
    """Return the features of a wave `(features, frames)`, around 0 to 1."""
    width = int(_FRAME * step)
    starts = step * np.arange(frames)
    cut = wave[starts[:, None] + np.arange(width)] * np.hanning(width)
    power = np.square(np.abs(np.fft.rfft(cut, _POINTS)))
    is_cepstral = features <= MOST_COEFFICIENTS
    bands = max(features, _BANDS) if is_cepstral else features
    energy = power @ _filters(bands)
    levels = (np.log(energy + np.exp(_SILENT)) - _SILENT) / (_LOUD - _SILENT)
    if not is_cepstral:
        return np.asarray(levels.T)
    # loud bands are near 0 here and silent ones at -1, as in networks whose waves are of size 1
    coefficients = fft.dct(levels - 1, axis=1, norm="ortho")[:, :features] / np.sqrt(
        bands
    )
    span = _MOST_COEFFICIENT - _LEAST_COEFFICIENT
    return np.asarray((coefficients.T - _LEAST_COEFFICIENT) / span)


@cache
def _filters(bands: int) -> Floats:
    """Return the weight of each frequency in each band `(frequencies, bands)`: triangles.

    A band that is narrower than the step between frequencies takes the nearest one.
    """
    edges = _hertz(np.linspace(_mel(_LOWEST), _mel(_HIGHEST), bands + 2))
    frequencies = np.fft.rfftfreq(_POINTS, 1 / RATE)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    nearest = np.abs(frequencies - centre).argmin(axis=0)
    filters[nearest, np.arange(bands)] = np.maximum(
        filters[nearest, np.arange(bands)], 0.5
    )
    return np.asarray(filters)


def _mel(hertz: float) -> float:
    """Return a frequency on the mel scale."""
    return float(1127 * np.log1p(hertz / 700))


def _hertz(mels: Floats) -> Floats:
    """Return the frequencies of points of the mel scale."""
    return np.asarray(700 * np.expm1(mels / 1127))

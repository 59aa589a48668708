"""Spectrograms and cepstra of synthetic sounds, as networks for sounds take them.

The power of short overlapping frames is summed in bands of the mel scale. A spectrogram is its
logarithm; cepstral coefficients (MFCCs) are the discrete cosine transform of that over the bands.

Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word
recognition in continuously spoken sentences", IEEE TASSP 28 (1980).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

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
            seconds = rng.choice(_STEPS)
            step = int(seconds * RATE)
            length = int((frames - 1 + _FRAME) * step)
            sound_count = channels if has_channels else 1
            seed_of_sounds = int(rng.integers(1 << 31))
            waves = make_sounds(sound_count, length, seed_of_sounds)
            own_tables = [_table(wave, step, frames, features) for wave in waves]
            tables = np.stack(own_tables)
            axes_in_order = tables.swapaxes(1, 2) if is_turned else tables
            image[:] = axes_in_order.reshape(image.shape)
        return images

    return generate


def _table(wave: Floats, step: int, frames: int, features: int) -> Floats:
    """Return the features of a wave `(features, frames)`, around 0 to 1."""
    width = int(_FRAME * step)
    starts = step * np.arange(frames)
    positions = starts[:, None] + np.arange(width)
    cut = wave[positions] * np.hanning(width)
    spectrum = np.fft.rfft(cut, _POINTS)
    magnitude = np.abs(spectrum)
    power = np.square(magnitude)
    is_cepstral = features <= MOST_COEFFICIENTS
    bands = max(features, _BANDS) if is_cepstral else features
    energy = power @ _filters(bands)
    silence = np.exp(_SILENT)
    loudness = np.log(energy + silence)
    range_of_levels = _LOUD - _SILENT
    levels = (loudness - _SILENT) / range_of_levels
    if not is_cepstral:
        return np.asarray(levels.T)
    # loud bands are near 0 here and silent ones at -1, as in networks whose waves are of size 1
    # it takes a fifth of a second to import, and networks of sounds alone need it
    from scipy import fft

    cosines = fft.dct(levels - 1, axis=1, norm="ortho")
    coefficients = cosines[:, :features] / np.sqrt(bands)
    span = _MOST_COEFFICIENT - _LEAST_COEFFICIENT
    above_least = coefficients.T - _LEAST_COEFFICIENT
    return np.asarray(above_least / span)


@cache
def _filters(bands: int) -> Floats:
    """Return the weight of each frequency in each band `(frequencies, bands)`: triangles.

    A band that is narrower than the step between frequencies takes the nearest one.
    """
    lowest = _mel(_LOWEST)
    highest = _mel(_HIGHEST)
    mels = np.linspace(lowest, highest, bands + 2)
    edges = _hertz(mels)
    frequencies = np.fft.rfftfreq(_POINTS, 1 / RATE)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    triangles = np.minimum(rising, falling)
    filters = np.maximum(0, triangles)
    distances = np.abs(frequencies - centre)
    nearest = distances.argmin(axis=0)
    numbers = np.arange(bands)
    peaks = filters[nearest, numbers]
    filters[nearest, numbers] = np.maximum(peaks, 0.5)
    return np.asarray(filters)


def _mel(hertz: float) -> float:
    """Return a frequency on the mel scale."""
    return float(1127 * np.log1p(hertz / 700))


def _hertz(mels: Floats) -> Floats:
    """Return the frequencies of points of the mel scale."""
    return np.asarray(700 * np.expm1(mels / 1127))

"""Synthetic signals of sensors: movements, pulses and drift, in channels that depend on another.

Every channel is a mixture of a few sources, as the axes of an accelerometer or the leads of an
electrocardiograph see the same movement. A source is a rhythm with harmonics whose pace wanders, a
train of pulses, steps between levels, or noise that falls with frequency.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Images, Random, Size

_SOURCES = 4
# Cycles of a rhythm, or pulses, over the length of a signal.
_FEWEST_CYCLES = 1.0
_MOST_CYCLES = 40.0
_HARMONICS = 4
# The deviation of the logarithm of a pace over a signal.
_WANDERING = 0.15
# Half of the sources are active all the time, the others in an episode.
_EPISODES = 0.5
# Amplitudes of noise fall with powers of frequency between these.
_POWERS = (0.3, 1.6)
# The deviation of a signal, the mean over channels, as a share of the range of values.
_QUIETEST = 0.06
_LOUDEST = 0.35
_MIDDLE = 0.5
# The deviation of a channel's level from the middle, as of gravity on an accelerometer.
_LEVELS = 0.1
_LEAST_DEVIATION = 1e-9

Floats = NDArray[np.float64]

_Source = Callable[[int, Random], Floats]
"""Makes a source from the length of a signal."""


def signals(count: int, channels: int, size: Size, seed: int = 0) -> Images:
    """Return signals of rhythms, pulses, steps and noise, around 0 to 1.

    >>> signals(2, 6, (100,)).shape
    (2, 6, 100)
    """
    rng = np.random.default_rng((seed, 8))
    [length] = size
    makers = (_rhythm, _rhythm, _pulses, _steps, _noise)
    return _mixtures(count, channels, length, makers, rng)


def other_signals(count: int, channels: int, size: Size, seed: int = 0) -> Images:
    """Return signals of other sources: chirps and noise in bursts, around 0 to 1.

    >>> other_signals(2, 6, (100,)).shape
    (2, 6, 100)
    """
    rng = np.random.default_rng((seed, 9))
    [length] = size
    return _mixtures(count, channels, length, (_chirp, _burst, _noise), rng)


def _mixtures(
    count: int, channels: int, length: int, makers: Sequence[_Source], rng: Random
) -> Images:
    """Return signals `(count, channels, length)`, each of a few sources of these kinds."""
    images = np.empty((count, channels, length), np.float32)
    for image in images:
        drawn = rng.integers(len(makers), size=_SOURCES)
        sources = np.stack([_normalised(makers[kind](length, rng)) for kind in drawn])
        shares = rng.standard_normal((channels, _SOURCES)) * rng.gamma(1.0, 1.0, _SOURCES)
        mixture = shares @ sources
        own_noise = rng.uniform(0, 0.2) * rng.standard_normal(mixture.shape)
        mixture = mixture / max(float(mixture.std()), _LEAST_DEVIATION) + own_noise
        loudness = np.exp(rng.uniform(np.log(_QUIETEST), np.log(_LOUDEST)))
        level = _MIDDLE + rng.normal(0, _LEVELS, (channels, 1))
        image[:] = level + loudness * mixture
    return images


def _normalised(source: Floats) -> Floats:
    """Return a source of mean 0 and unit deviation; a constant one stays at 0."""
    centred = source - source.mean()
    return np.asarray(centred / max(float(centred.std()), _LEAST_DEVIATION))


def _rhythm(length: int, rng: Random) -> Floats:
    """Return a rhythm with harmonics whose pace wanders."""
    phase = _phase(length, rng)
    weights = rng.standard_normal(_HARMONICS) / np.arange(1, _HARMONICS + 1)
    shifts = rng.uniform(0, 2 * np.pi, _HARMONICS)
    orders = np.arange(1, _HARMONICS + 1)
    waves = np.sin(2 * np.pi * orders[:, None] * phase + shifts[:, None])
    return np.asarray((weights @ waves) * _episode(length, rng))


def _pulses(length: int, rng: Random) -> Floats:
    """Return a train of narrow pulses, one in each cycle."""
    phase = _phase(length, rng) % 1
    pulses = np.zeros(length)
    for _ in range(3):
        centre, width = rng.uniform(0.2, 0.8), np.exp(rng.uniform(np.log(0.01), np.log(0.15)))
        pulses += rng.standard_normal() * np.exp(-(((phase - centre) / width) ** 2) / 2)
    return pulses * _episode(length, rng)


def _steps(length: int, rng: Random) -> Floats:
    """Return levels that hold for a while, with smooth changes between them."""
    times = np.sort(rng.uniform(0, length, int(rng.integers(2, 8))))
    widths = np.exp(rng.uniform(np.log(0.5), np.log(max(length / 8, 1)), len(times)))
    steps = np.tanh((np.arange(length) - times[:, None]) / widths[:, None])
    return np.asarray(rng.standard_normal(len(times)) @ steps)


def _noise(length: int, rng: Random) -> Floats:
    """Return noise whose amplitudes fall with a power of frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length), 1 / length)
    return np.fft.irfft(spectrum * frequencies ** -rng.uniform(*_POWERS), length)


def _chirp(length: int, rng: Random) -> Floats:
    """Return a wave whose frequency rises or falls."""
    first, last = np.exp(rng.uniform(np.log(_FEWEST_CYCLES), np.log(_MOST_CYCLES), 2)) / length
    phase = np.cumsum(np.geomspace(first, last, length))
    return np.asarray(np.sin(2 * np.pi * (phase + rng.random())) * _episode(length, rng))


def _burst(length: int, rng: Random) -> Floats:
    """Return noise in a few bursts."""
    bursts = sum(_episode(length, rng) for _ in range(3))
    return np.asarray(_noise(length, rng) * bursts)


def _phase(length: int, rng: Random) -> Floats:
    """Return the phase in cycles of a rhythm whose pace wanders."""
    cycles = np.exp(rng.uniform(np.log(_FEWEST_CYCLES), np.log(_MOST_CYCLES)))
    wander = rng.normal(0, _WANDERING) * np.sin(
        np.linspace(0, 2 * np.pi * rng.uniform(0.5, 2), length)
    )
    return np.asarray(rng.random() + np.cumsum(np.exp(wander)) * cycles / length)


def _episode(length: int, rng: Random) -> Floats:
    """Return how active a source is over time: all the time, or around one time."""
    if rng.random() < _EPISODES:
        return np.ones(length)
    centre, width = rng.uniform(0, length), length * rng.uniform(0.05, 0.4)
    return np.asarray(np.exp(-(((np.arange(length) - centre) / width) ** 4)))

"""Synthetic sounds like speech, music and noise.

A sound is a sequence of events over a quiet background. An event is a tone with harmonics, as of a
voice or an instrument, or noise; resonances shape its spectrum, as those of a throat or a body do.

Source: Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980), for sources
that resonances shape.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Random

RATE = 16_000
"""Samples a second: the rate of most networks for speech."""

Waves = NDArray[np.float64]
"""Amplitudes over time, of at most about 1 in size."""

Sounds = Callable[[int, int, int], Waves]
"""Makes waves `(count, length)` from a count, a length in samples and a seed."""

# Decibels of a background below the events, and of the quietest sound below the loudest.
_QUIETEST_BACKGROUND = 90
_LOUDEST_BACKGROUND = 30
_QUIETEST = 25
# The share of sounds that are a word in silence.
_WORDS = 0.5
# The share of an event in which it swells, and dies away.
_RAMP = 0.15
_LEAST_AMPLITUDE = 1e-9


@dataclass(frozen=True)
class _Style:
    """What a kind of sound is like: ranges that numbers of its events are drawn from.

    `seconds` are the lengths of events, `pauses` the silence between two of them as a share of the
    first, less than 0 where they overlap. `pitches` are those of tones in hertz, and `glide` the
    deviation of the logarithm of a pitch at the end of an event. `tones` is the share of events
    that are tones, `resonances` their number, and `bandwidth` that of each in hertz. `tilt` is the
    power of frequency by which amplitudes fall, and `decay` the number of times by e.
    """

    seconds: tuple[float, float]
    pauses: tuple[float, float]
    pitches: tuple[float, float]
    glide: float
    tones: float
    resonances: int
    bandwidth: tuple[float, float]
    tilt: float
    decay: float


_SPEECH = _Style((0.05, 0.25), (-0.1, 0.6), (80, 280), 0.2, 0.7, 4, (60, 250), 0.6, 0.5)
_MUSIC = _Style(
    (0.15, 0.8), (-0.7, 0.1), (80, 1200), 0.0, 0.95, 2, (200, 1500), 1.0, 3.0
)
_NOISE = _Style(
    (0.03, 1.5), (-0.5, 1.0), (40, 400), 0.1, 0.15, 2, (300, 3000), 0.5, 1.0
)
_CALLS = _Style(
    (0.04, 0.5), (0.0, 1.0), (200, 3000), 0.5, 0.8, 1, (300, 2000), 1.2, 0.5
)
_BABBLE = _Style(
    (0.08, 0.35), (-0.6, 0.2), (100, 220), 0.1, 0.6, 3, (100, 400), 0.8, 0.2
)


def sounds(count: int, length: int, seed: int = 0) -> Waves:
    """Return sounds like speech, music or noise, drawn at random; half of them are like speech.

    >>> sounds(2, 4000).shape
    (2, 4000)
    """
    return _sounds((_SPEECH, _MUSIC, _SPEECH, _NOISE), count, length, (seed, 5))


def other_sounds(count: int, length: int, seed: int = 0) -> Waves:
    """Return sounds of other kinds: calls of animals, or voices in a crowd.

    >>> other_sounds(1, 4000).shape
    (1, 4000)
    """
    return _sounds((_BABBLE, _CALLS), count, length, (seed, 6))


def _sounds(
    styles: tuple[_Style, ...], count: int, length: int, seed: tuple[int, int]
) -> Waves:
    rng = np.random.default_rng(seed)
    waves = np.zeros((count, length))
    for wave in waves:
        style = styles[int(rng.integers(len(styles)))]
        wave[:] = _sound(style, length, rng)
    return waves


def _sound(style: _Style, length: int, rng: Random) -> Waves:
    """Return one sound `(length,)`."""
    wave = np.zeros(length)
    pitch = _between(style.pitches, rng)
    start, end = _utterance(length, rng)
    while start < end:
        seconds = _between(style.seconds, rng)
        samples = int(seconds * RATE)
        own_pitch = pitch * rng.uniform(0.8, 1.25)
        event = _event(style, samples, own_pitch, rng)
        first = max(start, 0)
        last = min(start + samples, length)
        if last > first:
            wave[first:last] += event[first - start : last - start]
        pause = rng.uniform(*style.pauses)
        step = int(samples * (1 + pause))
        start += max(1, step)
    background = rng.uniform(_LOUDEST_BACKGROUND, _QUIETEST_BACKGROUND)
    quiet = 10 ** (-background / 20)
    power = rng.uniform(0, 1)
    wave += quiet * _coloured(length, power, rng)
    attenuation = rng.uniform(0, _QUIETEST)
    loudness: float = 10 ** (-attenuation / 20)
    return loudness * wave


def _utterance(length: int, rng: Random) -> tuple[int, int]:
    """Return the samples between which events begin: a word in silence, or all the time."""
    if rng.random() < _WORDS:
        start = rng.uniform(0, 0.7) * length
        seconds = rng.uniform(0.2, 0.5) * length
        return int(start), int(start + seconds)
    return int(rng.uniform(-0.3, 0.3) * length), length


def _event(style: _Style, samples: int, pitch: float, rng: Random) -> Waves:
    """Return one event `(samples,)`: a source, shaped by resonances, that swells and dies away."""
    if rng.random() < style.tones:
        glide = rng.normal(0, style.glide)
        source = _tone(samples, pitch, glide)
    else:
        source = rng.standard_normal(samples)
    spectrum = np.fft.rfft(source)
    bins = np.fft.rfftfreq(samples, 1 / RATE)
    frequencies = bins.astype(np.float64)
    gain = _resonances(style, frequencies, rng)
    shaped = np.fft.irfft(spectrum * gain, samples)
    time = np.linspace(0, 1, samples)
    to_nearer_end = np.minimum(time, 1 - time)
    swell = np.minimum(1, to_nearer_end / _RAMP)
    decay = rng.uniform(0, style.decay)
    shaped = shaped * swell * np.exp(-decay * time)
    loudness = rng.uniform(0.3, 1)
    event: Waves = shaped * loudness / _deviation(shaped)
    return event


def _tone(samples: int, pitch: float, glide: float) -> Waves:
    """Return a tone with all harmonics: pulses whose rate glides by a factor of exp(glide)."""
    time = np.linspace(0, 1, samples)
    pitches = pitch * np.exp(glide * time)
    cycles = np.cumsum(pitches) / RATE
    # a pulse begins where another whole cycle is complete
    whole_cycles = np.floor(cycles)
    tone: Waves = np.diff(whole_cycles, prepend=0.0)
    return tone


def _resonances(style: _Style, frequencies: Waves, rng: Random) -> Waves:
    """Return the gain at each frequency: a few resonances over amplitudes that fall."""
    highest = np.log(6000)
    lowest = np.log(200)
    logarithms = rng.uniform(lowest, highest, style.resonances)
    centres = np.exp(logarithms)
    gain = np.full(len(frequencies), 0.02)
    for centre in centres:
        width = _between(style.bandwidth, rng)
        strength = rng.uniform(0.3, 1)
        distance = (frequencies - centre) / width
        gain += strength / (1 + distance**2)
    above = np.maximum(frequencies, 100) / 100
    fall: Waves = gain * above**-style.tilt
    return fall


def _coloured(length: int, power: float, rng: Random) -> Waves:
    """Return noise of unit deviation whose amplitudes fall with a power of frequency."""
    white = rng.standard_normal(length)
    spectrum = np.fft.rfft(white)
    bins = np.fft.rfftfreq(length)
    frequencies = np.maximum(bins, 1 / length)
    coloured = spectrum * frequencies**-power
    noise = np.fft.irfft(coloured, length)
    return noise / _deviation(noise)


def _deviation(wave: Waves) -> float:
    """Return the deviation of a wave; silence has none to divide by."""
    return max(float(wave.std()), _LEAST_AMPLITUDE)


def _between(limits: tuple[float, float], rng: Random) -> float:
    """Return a number between two limits, evenly in its logarithm."""
    low, high = np.log(limits)
    return float(np.exp(rng.uniform(low, high)))

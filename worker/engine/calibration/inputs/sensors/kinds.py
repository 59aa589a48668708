"""The kinds of inputs that are no photographs, by the shape of an input."""

from dataclasses import dataclass

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import Generator, Size
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.inputs.sensors.sounds import other_sounds, sounds
from worker.engine.calibration.inputs.sensors.spectrograms import (
    MOST_COEFFICIENTS,
    spectrograms,
)

# Rooms are heard with one microphone or two; more channels are other features.
_MOST_MICROPHONES = 2
# Squarer tables of one channel are images of digits and characters more often.
_LEAST_RATIO = 1.5
_FEWEST_FEATURES = 4
# The height of lines of text, as networks that read them take it: no usual number of bands.
_HEIGHTS_OF_TEXT = (32, 48)
# Fewer numbers along an axis are a table more often than something over time.
_FEWEST_FRAMES = 16


@dataclass(frozen=True)
class Kind:
    """A kind of input: generators to fit on, to judge by, and to try ranges of values on.

    `ranges` are the values that networks for this kind take, beside the usual ones.
    """

    name: str
    fitting: Generator
    judging: Generator
    probing: Generator
    ranges: tuple[ValueRange, ...] = ()


SHAPES = Kind("synthetic shapes", dead_leaves, mosaics, dead_leaves)

_SPECTROGRAMS = Kind(
    "spectrograms of synthetic sounds",
    spectrograms(sounds),
    spectrograms(other_sounds),
    spectrograms(sounds),
    (
        ValueRange("decibels of -80 to 0", (1.0,), (1 / 80,)),
        ValueRange("logarithms of -14 to 8", (14 / 22,), (1 / 22,)),
    ),
)
_COEFFICIENTS = Kind(
    "cepstral coefficients of synthetic sounds",
    spectrograms(sounds),
    spectrograms(other_sounds),
    spectrograms(sounds),
    (
        ValueRange("coefficients of -120 to 30", (0.8,), (1 / 150,)),
        ValueRange("coefficients of -600 to 150", (0.8,), (1 / 750,)),
    ),
)


def kinds_of_shape(channels: int, size: Size) -> tuple[Kind, ...]:
    """Return the kinds that an input of this shape may be of, the likeliest first.

    >>> [kind.name for kind in kinds_of_shape(40, (98,))]
    ['spectrograms of synthetic sounds', 'synthetic shapes']
    >>> [kind.name for kind in kinds_of_shape(1, (49, 10))]
    ['cepstral coefficients of synthetic sounds', 'synthetic shapes']
    >>> [kind.name for kind in kinds_of_shape(1, (32, 320))]
    ['synthetic shapes', 'spectrograms of synthetic sounds']
    """
    if len(size) == 1:
        return _along_time(channels, *size)
    if len(size) == 2 and channels <= _MOST_MICROPHONES:
        return _table(*sorted(size))
    return (SHAPES,)


def _along_time(channels: int, length: int) -> tuple[Kind, ...]:
    """Return the kinds of an input with one axis, of time."""
    # sensors and coefficients have fewer channels than a spectrogram has bands
    if channels <= MOST_COEFFICIENTS or length < _FEWEST_FRAMES:
        return (SHAPES,)
    return (_SPECTROGRAMS, SHAPES)


def _table(short: int, long: int) -> tuple[Kind, ...]:
    """Return the kinds of an input with two axes of these lengths, and one channel or two."""
    if short < _FEWEST_FEATURES or long <= _LEAST_RATIO * short:
        return (SHAPES,)
    if short in _HEIGHTS_OF_TEXT:
        return (SHAPES, _SPECTROGRAMS)
    if short <= MOST_COEFFICIENTS:
        return (_COEFFICIENTS, SHAPES)
    return (_SPECTROGRAMS, SHAPES)

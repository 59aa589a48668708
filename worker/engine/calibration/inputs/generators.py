"""Generators of synthetic images, and what they share: colours, soft edges and noise.

There are two generators of different kinds, `dead_leaves` and `mosaics`, so that a model fitted on
one can be checked on the other. Both give values around 0 to 1, for any number of channels and
axes, and the same images for the same seed.

Source: Baradad et al., "Learning to see by looking at noise", NeurIPS 2021, on what networks learn
from such images.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""`(count, channels, *size)`."""

Size = Sequence[int]
"""The length of each spatial axis; empty for vectors."""

Random = np.random.Generator

Generator = Callable[[int, int, Size, int], Images]
"""Makes images from a count, a number of channels, a size and a seed."""

# The largest deviation of noise, as a share of the value range: denoisers are trained up to it.
_MOST_NOISE = 0.2
# The brightness of natural images, and its deviation between objects.
_BRIGHTNESS = 0.47
_BRIGHTNESS_DEVIATION = 0.2
# Channels of natural images vary together more than on their own.
_CHANNEL_DEVIATION = 0.1


def random_colours(count: int, channels: int, rng: Random) -> Images:
    """Return colours `(count, channels)`.

    A colour is a brightness that all channels share, and a smaller part of each channel's own.
    """
    brightness = rng.normal(_BRIGHTNESS, _BRIGHTNESS_DEVIATION, (count, 1))
    own = rng.normal(0, _CHANNEL_DEVIATION, (count, channels))
    colours = np.clip(brightness + own, 0, 1)
    return colours.astype(np.float32)


def sum_over_axes(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the outer sum `(count, *size)` of one array `(count, length)` for each axis.

    Compute whatever you can before the sum: it has `size` times as many elements as a part.

    >>> sum_over_axes([np.array([[0, 10]]), np.array([[1, 2, 3]])]).tolist()
    [[[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]]]
    """
    axes = range(len(parts))
    outer: NDArray[Any] = np.asarray(np.float32(0))
    for own, part in enumerate(parts):
        # The first axis is that of the images.
        others = [1 + other for other in axes if other != own]
        outer = outer + np.expand_dims(part, others)
    return np.asarray(outer)


def remembered(generator: Generator) -> Generator:
    """Return a generator that draws the same images once, however often they are asked for."""

    @cache
    def drawn(count: int, channels: int, size: tuple[int, ...], seed: int) -> Images:
        return generator(count, channels, size, seed)

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        return drawn(count, channels, tuple(size), seed)

    return generate


def softened(generator: Generator) -> Generator:
    """Return a generator of images half of which have soft edges: drawn twice as large, averaged.

    Lenses and resizing soften photographs in this way. Edges without any width have more of the
    highest frequencies.
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        half = count // 2
        sharp = generator(half, channels, size, seed)
        double = [2 * length for length in size]
        soft = generator(count - half, channels, double, seed)
        for axis, length in enumerate(size, start=2):
            before = soft.shape[:axis]
            after = soft.shape[axis + 1 :]
            pairs = soft.reshape(*before, length, 2, *after)
            soft = pairs.mean(axis + 1)
        images = np.empty((count, channels, *size), np.float32)
        # Any part of the images has some of both.
        images[::2] = soft
        images[1::2] = sharp
        return images

    return generate


def noisy(generator: Generator) -> Generator:
    """Return a generator of the same images under noise, as a denoiser sees them.

    The noise's deviation is drawn for each image, from 0 to a fifth of the value range.

    >>> grey = lambda count, channels, size, seed: np.zeros((count, channels, *size), np.float32)
    >>> images = noisy(grey)(2, 3, (8, 8), 0)
    >>> images.shape, bool(images.std() > 0)
    ((2, 3, 8, 8), True)
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        images = generator(count, channels, size, seed)
        rng = np.random.default_rng((seed, 2))
        ones = (1,) * (images.ndim - 1)
        one_each = (count, *ones)
        deviation = rng.uniform(0, _MOST_NOISE, one_each)
        noise = rng.standard_normal(images.shape, np.float32)
        single = deviation.astype(np.float32)
        return images + single * noise

    return generate

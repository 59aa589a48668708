"""Synthetic images, signals and volumes: inputs for a model whose real ones nobody gave.

Two generators of different kinds, so that what was fitted on one can be checked on the other. Both give values around
0 to 1, of any number of channels and axes, the same for the same seed.

Sources: Ruderman, "Origins of scaling in natural images", Vision Research 37 (1997), for occluding objects of power-law
size; Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41 (2001); Baradad et al., "Learning to see
by looking at noise", NeurIPS 2021, for what such images teach a network.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""`(count, channels, *size)`."""

_LEAVES = 60
_AT_ONCE = 1 << 20
_CELLS = 24
_MOST_NOISE = 0.2

Generator = Callable[[int, int, Sequence[int], int], Images]
"""Makes so many images with so many channels, of a size, from a seed."""


def dead_leaves(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of random balls and boxes that hide one another, their sizes distributed by a power law.

    >>> dead_leaves(2, 3, (8, 8)).shape, dead_leaves(1, 1, (50,)).shape, dead_leaves(1, 2, (4, 5, 6)).shape
    ((2, 3, 8, 8), (1, 1, 50), (1, 2, 4, 5, 6))
    """
    rng = np.random.default_rng(seed)
    share = max(1, _AT_ONCE // math.prod(size))
    parts = [
        _some_leaves(min(share, count - at), channels, tuple(size), rng)
        for at in range(0, count, share)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, channels, *size), np.float32)


def _some_leaves(
    count: int, channels: int, size: tuple[int, ...], rng: np.random.Generator
) -> Images:
    """Draw several images at once, leaf by leaf, each over what is there."""
    axes = (1,) * len(size)
    images = np.zeros((count, channels, *size), np.float32)
    grain = np.zeros((count, 1, *size), np.float32)
    for _ in range(_LEAVES):
        inside = _leaf(count, size, rng)[:, None]
        colours = _colours(count, channels, rng).reshape(count, channels, *axes)
        np.copyto(images, colours, where=inside)
        np.copyto(
            grain, np.abs(rng.normal(0, 0.02, (count, 1, *axes))).astype(np.float32), where=inside
        )
    return images + grain * rng.standard_normal(images.shape, np.float32)


def _leaf(count: int, size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return where one leaf lies in each image, a ball or a turned box: `(count, *size)`."""
    axes = len(size)
    longest = max(size, default=1)
    radius = np.minimum(longest, longest / 16 / (rng.random(count) + 0.06))
    centre = rng.random((count, axes)) * size
    is_ball = rng.random(count) < 0.5
    turn = np.linalg.qr(rng.standard_normal((count, axes, axes)))[0]
    narrow = np.concatenate(
        [np.ones((count, min(axes, 1))), rng.uniform(0.3, 1, (count, max(axes - 1, 0)))], axis=1
    )
    turned = (turn / narrow[:, :, None]).astype(np.float32)
    middle, reach = centre.astype(np.float32), radius.astype(np.float32)[:, None]
    offsets = [
        (np.arange(length, dtype=np.float32) - middle[:, axis, None]) / reach
        for axis, length in enumerate(size)
    ]
    inside = np.ones((count, *size), np.bool_)
    inside[is_ball] &= _summed([np.square(offset[is_ball]) for offset in offsets]) < 1
    for side in turned[~is_ball].swapaxes(0, 1):
        parts = [side[:, axis, None] * offset[~is_ball] for axis, offset in enumerate(offsets)]
        inside[~is_ball] &= np.abs(_summed(parts)) < 1
    return inside


def _summed(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return what is the sum of one number for each axis, `(count, *size)`, from these numbers, `(count, length)`.

    Whatever else can be done to them is done before: the sums are as much larger as images have sides.
    """
    axes = range(len(parts))
    spread = (
        np.expand_dims(part, [1 + other for other in axes if other != own])
        for own, part in enumerate(parts)
    )
    return np.asarray(sum(spread, np.float32(0)))


def _colours(count: int, channels: int, rng: np.random.Generator) -> Images:
    """Return colours `(count, channels)`: a brightness that all channels share, and a little of each one's own."""
    colours = rng.normal(0.47, 0.2, (count, 1)) + rng.normal(0, 0.1, (count, channels))
    return np.clip(colours, 0, 1).astype(np.float32)


def mosaics(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of cells around random points, each with a colour, a gradient and a cloudy texture of its own.

    >>> mosaics(2, 3, (8, 8)).shape, mosaics(1, 1, (50,)).shape
    ((2, 3, 8, 8), (1, 1, 50))
    """
    rng = np.random.default_rng((seed, 1))
    axes = len(size)
    images = np.zeros((count, channels, *size), np.float32)
    grid = (
        np.stack(np.meshgrid(*(np.arange(length) / max(size) for length in size), indexing="ij"))
        if axes
        else None
    )
    for image in images:
        cells = int(rng.integers(_CELLS // 4, _CELLS * 2))
        if grid is None:
            image[:] = _colours(1, channels, rng)[0]
            continue
        points = rng.random((cells, axes)) * np.array(size) / max(size)
        offsets = (
            np.arange(length) / max(size) - points[:, axis, None]
            for axis, length in enumerate(size)
        )
        cell = _summed([np.square(offset) for offset in offsets]).argmin(axis=0)
        colours = _colours(cells, channels, rng)
        slopes = rng.normal(0, 0.3, (cells, axes))
        shade = sum(slopes[cell, axis] * (grid[axis] - points[cell, axis]) for axis in range(axes))
        rough = np.abs(rng.normal(0, 0.06, cells))[cell]
        image[:] = np.moveaxis(colours[cell], -1, 0) + shade + rough * _clouds(channels, size, rng)
    return np.clip(images, 0, 1)


def _clouds(channels: int, size: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise of unit variance whose amplitude falls with frequency, as in natural images."""
    axes = tuple(range(1, len(size) + 1))
    frequency = np.sqrt(
        sum(np.square(axis) for axis in np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij"))
    )
    spectrum = np.fft.fftn(rng.standard_normal((channels, *size)), axes=axes) / np.maximum(
        frequency, 1 / max(size)
    )
    noise = np.fft.ifftn(spectrum, axes=axes).real
    noise -= noise.mean(axis=axes, keepdims=True)
    clouds: NDArray[np.float64] = noise / np.maximum(noise.std(axis=axes, keepdims=True), 1e-12)
    return clouds


def softened(generator: Generator) -> Generator:
    """Return a generator of images half of which have soft edges: drawn twice as large, and averaged.

    So do lenses and resizing; edges without any width have more of the highest frequencies than photographs.
    """

    def made(count: int, channels: int, size: Sequence[int], seed: int) -> Images:
        sharp = generator(count // 2, channels, size, seed)
        soft = generator(count - count // 2, channels, [2 * length for length in size], seed)
        for axis, length in enumerate(size, start=2):
            soft = soft.reshape(*soft.shape[:axis], length, 2, *soft.shape[axis + 1 :]).mean(
                axis + 1
            )
        images = np.empty((count, channels, *size), np.float32)
        images[::2], images[1::2] = soft, sharp
        return images

    return made


def noisy(generator: Generator) -> Generator:
    """Return a generator of the same images under noise, as a model that takes it away sees them.

    How much of it an image has is drawn at random: its deviation is from 0 to a fifth of the range of values.
    """

    def made(count: int, channels: int, size: Sequence[int], seed: int) -> Images:
        images, rng = generator(count, channels, size, seed), np.random.default_rng((seed, 2))
        deviation = rng.uniform(0, _MOST_NOISE, (count, *(1,) * (images.ndim - 1))).astype(
            np.float32
        )
        return images + deviation * rng.standard_normal(images.shape, np.float32)

    return made

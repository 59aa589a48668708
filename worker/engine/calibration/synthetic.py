"""Synthetic images, signals and volumes: inputs for a model whose real ones nobody gave.

Two generators of different kinds, so that what was fitted on one can be checked on the other. Both give values around
0 to 1, of any number of channels and axes, the same for the same seed.

Sources: Ruderman, "Origins of scaling in natural images", Vision Research 37 (1997), for occluding objects of power-law
size; Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41 (2001); Baradad et al., "Learning to see
by looking at noise", NeurIPS 2021, for what such images teach a network.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""`(count, channels, *size)`."""

_LEAVES = 60
_CELLS = 24


def dead_leaves(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of random balls and boxes that hide one another, their sizes distributed by a power law.

    >>> dead_leaves(2, 3, (8, 8)).shape, dead_leaves(1, 1, (50,)).shape, dead_leaves(1, 2, (4, 5, 6)).shape
    ((2, 3, 8, 8), (1, 1, 50), (1, 2, 4, 5, 6))
    """
    rng = np.random.default_rng(seed)
    images = np.zeros((count, channels, *size), np.float32)
    for image in images:
        for _ in range(_LEAVES):
            _drop_leaf(image, rng)
    return images


def _drop_leaf(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw one ball or turned box over what is there."""
    channels, *size = image.shape
    longest = max(size, default=1)
    radius = min(longest, longest / 16 / (rng.random() + 0.06))
    centre = rng.random(len(size)) * size
    is_ball = rng.random() < 0.5
    radii = np.full(len(size), radius) if is_ball else radius * np.append(1.0, rng.uniform(0.3, 1, len(size) - 1))
    reach = float(np.linalg.norm(radii)) if not is_ball else radius
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, size).astype(int)
    turn = np.linalg.qr(rng.standard_normal((len(size), len(size))))[0] if len(size) > 1 else np.eye(len(size))
    colour = _colour(channels, rng)
    grain = rng.normal(0, 0.02)
    if (high <= low).any():
        return
    window = image[(slice(None), *map(slice, low, high))]
    offsets = np.meshgrid(*(np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True)), indexing="ij")
    inside = _inside(np.stack(offsets), turn, radii, is_ball)
    noise = rng.standard_normal((channels, int(inside.sum())), np.float32) * abs(grain)
    window[:, inside] = colour[:, None] + noise


def _inside(
    offsets: NDArray[np.float64], turn: NDArray[np.float64], radii: NDArray[np.float64], is_ball: bool
) -> NDArray[np.bool_]:
    scaled = np.tensordot(turn, offsets, 1) / radii.reshape(-1, *(1,) * (offsets.ndim - 1))
    inside: NDArray[np.bool_] = (scaled**2).sum(axis=0) < 1 if is_ball else np.abs(scaled).max(axis=0) < 1
    return inside


def _colour(channels: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a colour: a brightness that all channels share, and a little of each channel's own."""
    colour = rng.normal(0.47, 0.2) + rng.normal(0, 0.1, channels)
    return np.clip(colour, 0, 1).astype(np.float32)


def mosaics(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of cells around random points, each with a colour, a gradient and a cloudy texture of its own.

    >>> mosaics(2, 3, (8, 8)).shape, mosaics(1, 1, (50,)).shape
    ((2, 3, 8, 8), (1, 1, 50))
    """
    rng = np.random.default_rng((seed, 1))
    axes = len(size)
    images = np.zeros((count, channels, *size), np.float32)
    grid = np.stack(np.meshgrid(*(np.arange(length) / max(size) for length in size), indexing="ij")) if axes else None
    for image in images:
        cells = rng.integers(_CELLS // 4, _CELLS * 2)
        if grid is None:
            image[:] = _colour(channels, rng)
            continue
        points = rng.random((cells, axes)) * np.array(size) / max(size)
        distances = np.stack([((grid - point.reshape(-1, *(1,) * axes)) ** 2).sum(axis=0) for point in points])
        cell = distances.argmin(axis=0)
        colours = np.stack([_colour(channels, rng) for _ in range(cells)])
        slopes = rng.normal(0, 0.3, (cells, axes))
        shade = sum(slopes[cell, axis] * (grid[axis] - points[cell, axis]) for axis in range(axes))
        rough = np.abs(rng.normal(0, 0.06, cells))[cell]
        image[:] = np.moveaxis(colours[cell], -1, 0) + shade + rough * _clouds(channels, size, rng)
    return np.clip(images, 0, 1)


def _clouds(channels: int, size: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise of unit variance whose amplitude falls with frequency, as in natural images."""
    axes = tuple(range(1, len(size) + 1))
    frequency = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")))
    spectrum = np.fft.fftn(rng.standard_normal((channels, *size)), axes=axes) / np.maximum(frequency, 1 / max(size))
    noise = np.fft.ifftn(spectrum, axes=axes).real
    noise -= noise.mean(axis=axes, keepdims=True)
    clouds: NDArray[np.float64] = noise / np.maximum(noise.std(axis=axes, keepdims=True), 1e-12)
    return clouds

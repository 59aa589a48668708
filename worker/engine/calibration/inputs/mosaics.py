"""Mosaics: synthetic images of textured cells around random points."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Images, random_colours, sum_over_axes

_CELLS = 24
"""Cells in an image, from a quarter of this up to twice as many."""
_LEAST_DEVIATION = 1e-12
"""Noise of a single pixel does not vary."""

Floats = NDArray[np.float64]


def mosaics(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of cells, each with a colour, a gradient and a cloudy texture of its own.

    >>> mosaics(2, 3, (8, 8)).shape, mosaics(1, 1, (50,)).shape
    ((2, 3, 8, 8), (1, 1, 50))
    """
    rng = np.random.default_rng((seed, 1))
    images = np.zeros((count, channels, *size), np.float32)
    coordinates = [np.arange(length) / max(size) for length in size]
    for image in images:
        cells = int(rng.integers(_CELLS // 4, _CELLS * 2))
        if size:
            image[:] = _mosaic(cells, channels, coordinates, rng)
        else:
            image[:] = random_colours(1, channels, rng)[0]
    return np.clip(images, 0, 1)


def _mosaic(
    cells: int, channels: int, coordinates: Sequence[Floats], rng: np.random.Generator
) -> Floats:
    """Return one image `(channels, *size)`; the longest axis has coordinates from 0 to 1."""
    size = [len(axis) for axis in coordinates]
    axes = range(len(size))
    points = rng.random((cells, len(size))) * np.array(size) / max(size)
    offsets = [coordinates[axis] - points[:, axis, None] for axis in axes]
    nearest = sum_over_axes([np.square(offset) for offset in offsets]).argmin(axis=0)
    colours = random_colours(cells, channels, rng)
    slopes = rng.normal(0, 0.3, (cells, len(size)))
    grid = np.meshgrid(*coordinates, indexing="ij")
    shade = np.zeros(size)
    for axis in axes:
        shade = shade + slopes[nearest, axis] * (grid[axis] - points[nearest, axis])
    roughness = np.abs(rng.normal(0, 0.06, cells))[nearest]
    plain = np.moveaxis(colours[nearest], -1, 0)
    mosaic: Floats = plain + shade + roughness * _clouds(channels, size, rng)
    return mosaic


def _clouds(channels: int, size: Sequence[int], rng: np.random.Generator) -> Floats:
    """Return noise of unit variance whose amplitude falls with frequency, as in natural images."""
    axes = tuple(range(1, len(size) + 1))
    frequencies = np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij")
    distance = np.sqrt(sum(np.square(axis) for axis in frequencies))
    white = np.fft.fftn(rng.standard_normal((channels, *size)), axes=axes)
    # The lowest frequency stands for 0, which has no amplitude to divide by.
    spectrum = white / np.maximum(distance, 1 / max(size))
    noise = np.fft.ifftn(spectrum, axes=axes).real
    noise -= noise.mean(axis=axes, keepdims=True)
    deviation = noise.std(axis=axes, keepdims=True)
    clouds: Floats = noise / np.maximum(deviation, _LEAST_DEVIATION)
    return clouds

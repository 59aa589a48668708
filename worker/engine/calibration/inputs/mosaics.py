"""Mosaics: synthetic images of textured cells around random points."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import (
    Images,
    Random,
    Size,
    random_colours,
    sum_over_axes,
)

# Cells in an image, from a quarter of this up to twice as many.
_CELLS = 24
# Noise of a single pixel does not vary.
_LEAST_DEVIATION = 1e-12
# The deviation of a cell's gradient, over the longest side.
_SLOPE = 0.3
# The deviation of a cell's texture, which differs from cell to cell.
_ROUGHNESS = 0.06

Floats = NDArray[np.float64]


def mosaics(count: int, channels: int, size: Size, seed: int = 0) -> Images:
    """Return images of cells, each with a colour, a gradient and a cloudy texture of its own.

    >>> mosaics(2, 3, (8, 8)).shape
    (2, 3, 8, 8)
    >>> mosaics(1, 1, (50,)).shape
    (1, 1, 50)
    """
    rng = np.random.default_rng((seed, 1))
    images = np.zeros((count, channels, *size), np.float32)
    coordinates = [np.arange(length) / max(size) for length in size]
    for image in images:
        cells = int(rng.integers(_CELLS // 4, _CELLS * 2))
        if size:
            image[:] = _mosaic(cells, channels, coordinates, rng)
        else:
            # A vector has no positions that cells could share.
            colour = random_colours(1, channels, rng)[0]
            image[:] = colour
    return np.clip(images, 0, 1)


def _mosaic(
    cells: int,
    channels: int,
    coordinates: Sequence[Floats],
    rng: Random,
) -> Floats:
    """Return one image `(channels, *size)`.

    `coordinates` are those of the pixels along each axis, from 0 to 1 along the longest one.
    """
    size = [len(axis) for axis in coordinates]
    extent = np.array(size)
    points = rng.random((cells, len(size)))
    points = points * extent / max(size)
    nearest = _nearest(points, coordinates)
    colours = random_colours(cells, channels, rng)
    slopes = rng.normal(0, _SLOPE, (cells, len(size)))
    own_points = points[nearest]
    own_slopes = slopes[nearest]
    shade = _shade(own_points, own_slopes, coordinates)
    deviations = rng.normal(0, _ROUGHNESS, cells)
    roughness = np.abs(deviations)
    clouds = _clouds(channels, size, rng)
    own_colours = colours[nearest]
    plain = np.moveaxis(own_colours, -1, 0)
    own_roughness = roughness[nearest]
    mosaic: Floats = plain + shade + own_roughness * clouds
    return mosaic


def _nearest(points: Floats, coordinates: Sequence[Floats]) -> NDArray[np.intp]:
    """Return the cell `(*size)` of every pixel: the one whose point is nearest.

    `points` has the shape `(cells, axes)`.
    """
    squares = []
    for axis, own in enumerate(coordinates):
        coordinate = points[:, axis, None]
        offset = own - coordinate
        squares.append(np.square(offset))
    distances = sum_over_axes(squares)
    nearest: NDArray[np.intp] = distances.argmin(axis=0)
    return nearest


def _shade(points: Floats, slopes: Floats, coordinates: Sequence[Floats]) -> Floats:
    """Return the gradient `(*size)` of every pixel's cell, 0 at the cell's point.

    `points` and `slopes` are those of each pixel's cell, `(*size, axes)`.
    """
    grid = np.meshgrid(*coordinates, indexing="ij")
    shade = np.zeros(grid[0].shape)
    for axis, own in enumerate(grid):
        coordinate = points[..., axis]
        offset = own - coordinate
        slope = slopes[..., axis]
        shade = shade + slope * offset
    return shade


def _clouds(channels: int, size: Size, rng: Random) -> Floats:
    """Return noise `(channels, *size)` of unit variance.

    Its amplitude falls as 1/f with frequency, as in natural images.
    """
    axes = tuple(range(1, len(size) + 1))
    noise = rng.standard_normal((channels, *size))
    bins = map(np.fft.fftfreq, size)
    frequencies = np.meshgrid(*bins, indexing="ij")
    square = sum(np.square(axis) for axis in frequencies)
    distance = np.sqrt(square)
    # The lowest frequency stands for 0, which has no amplitude to divide by.
    distance = np.maximum(distance, 1 / max(size))
    flat = np.fft.fftn(noise, axes=axes)
    spectrum = flat / distance
    noise = np.fft.ifftn(spectrum, axes=axes).real
    noise -= noise.mean(axis=axes, keepdims=True)
    deviation = noise.std(axis=axes, keepdims=True)
    divisor = np.maximum(deviation, _LEAST_DEVIATION)
    clouds: Floats = noise / divisor
    return clouds

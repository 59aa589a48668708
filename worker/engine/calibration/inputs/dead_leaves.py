"""Dead leaves: synthetic images of random shapes that hide one another.

Sources: Ruderman, "Origins of scaling in natural images", Vision Research 37 (1997), for occluding
objects of power-law size; Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41
(2001).
"""

import math
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

# Leaves in an image: enough that they cover nearly all of it.
_LEAVES = 60
# Pixels of the images that are drawn together: one leaf of all of them fits into the caches.
_PIXELS_AT_ONCE = 1 << 20
# Radii r follow a power law: r = longest side / 16 / u, for u uniform above a small constant that
# keeps them near the longest side at most.
_SMALLEST_RADII = 16
_LEAST_DRAW = 0.06
# Half of the leaves are balls, the others boxes.
_BALLS = 0.5
# The shorter sides of a box, as a share of its longest one, are at least this.
_NARROWEST = 0.3
# The deviation of a leaf's grain, over which textures differ.
_GRAIN = 0.02

Masks = NDArray[np.bool_]

Floats = NDArray[np.float64]


def dead_leaves(count: int, channels: int, size: Size, seed: int = 0) -> Images:
    """Return images of balls and boxes that hide one another, their sizes drawn by a power law.

    >>> dead_leaves(2, 3, (8, 8)).shape
    (2, 3, 8, 8)
    >>> dead_leaves(1, 1, (50,)).shape
    (1, 1, 50)
    >>> dead_leaves(1, 2, (4, 5, 6)).shape
    (1, 2, 4, 5, 6)
    """
    rng = np.random.default_rng(seed)
    pixels = math.prod(size)
    together = max(1, _PIXELS_AT_ONCE // pixels)
    parts = [np.zeros((0, channels, *size), np.float32)]
    for start in range(0, count, together):
        number = min(together, count - start)
        images = _draw_together(number, channels, size, rng)
        parts.append(images)
    return np.concatenate(parts)


def _draw_together(
    count: int,
    channels: int,
    size: Size,
    rng: Random,
) -> Images:
    """Draw images leaf by leaf, each leaf over those before it."""
    ones = (1,) * len(size)
    one_colour = (count, channels, *ones)
    one_grain = (count, 1, *ones)
    images = np.zeros((count, channels, *size), np.float32)
    grain = np.zeros((count, 1, *size), np.float32)
    for _ in range(_LEAVES):
        leaf = _leaf(count, size, rng)
        inside = leaf[:, None]
        colours = random_colours(count, channels, rng)
        flat_colours = colours.reshape(one_colour)
        np.copyto(images, flat_colours, where=inside)
        deviations = rng.normal(0, _GRAIN, one_grain)
        roughness = np.abs(deviations)
        own_grain = roughness.astype(np.float32)
        np.copyto(grain, own_grain, where=inside)
    noise = rng.standard_normal(images.shape, np.float32)
    return images + grain * noise


def _leaf(count: int, size: Size, rng: Random) -> Masks:
    """Return the mask `(count, *size)` of one leaf in each image, a ball or a turned box."""
    axes = len(size)
    radius = _radii(count, size, rng)
    places = rng.random((count, axes))
    centre = places * size
    is_ball = rng.random(count) < _BALLS
    sides = _box_sides(count, axes, rng)
    single_centre = centre.astype(np.float32)
    single_radius = radius.astype(np.float32)
    offsets = _offsets(size, single_centre, single_radius)
    inside = np.ones((count, *size), np.bool_)
    of_balls = [offset[is_ball] for offset in offsets]
    inside[is_ball] = _in_ball(of_balls)
    is_box = ~is_ball
    of_boxes = [offset[is_box] for offset in offsets]
    inside[is_box] = _in_box(of_boxes, sides[is_box])
    return inside


def _radii(count: int, size: Size, rng: Random) -> Floats:
    """Return radii in pixels, at most the longest side."""
    longest = max(size, default=1)
    draw = rng.random(count) + _LEAST_DRAW
    radii = longest / _SMALLEST_RADII / draw
    return np.minimum(longest, radii)


def _offsets(size: Size, centre: Images, radius: Images) -> list[Images]:
    """Return the distance of pixels from the centre along each axis, `(count, length)`, in radii.

    `centre` has the shape `(count, axes)`, `radius` `(count,)`.
    """
    offsets = []
    for axis, length in enumerate(size):
        pixels = np.arange(length, dtype=np.float32)
        own_centre = centre[:, axis, None]
        distance = pixels - own_centre
        offsets.append(distance / radius[:, None])
    return offsets


def _in_ball(offsets: Sequence[Images]) -> Masks:
    """Return the mask of the unit ball, given each axis's offsets `(count, length)`.

    >>> offsets = np.array([[-0.9, 0.0, 0.9]], np.float32)
    >>> _in_ball([offsets, offsets])[0].sum(axis=1).tolist()
    [1, 3, 1]
    """
    squares = [np.square(offset) for offset in offsets]
    return np.asarray(sum_over_axes(squares) < 1)


def _in_box(offsets: Sequence[Images], sides: Images) -> Masks:
    """Return the mask of boxes with these sides `(count, sides, axes)`.

    A pixel lies in a box if its offset along each side's normal is below 1.
    """
    inside: Masks = np.asarray(True)
    for side in sides.swapaxes(0, 1):
        parts = [side[:, axis, None] * offset for axis, offset in enumerate(offsets)]
        projected = sum_over_axes(parts)
        distance = np.abs(projected)
        inside = inside & (distance < 1)
    return inside


def _box_sides(count: int, axes: int, rng: Random) -> Images:
    """Return the normals `(count, sides, axes)` of turned boxes' sides, over their half lengths.

    The first side is as long as the radius, the others are shorter.
    """
    random = rng.standard_normal((count, axes, axes))
    turn = np.linalg.qr(random)[0]
    first = np.ones((count, min(axes, 1)))
    later_axes = max(axes - 1, 0)
    others = rng.uniform(_NARROWEST, 1, (count, later_axes))
    lengths = np.concatenate([first, others], axis=1)
    divisors = lengths[:, :, None]
    sides = turn / divisors
    return np.asarray(sides, np.float32)

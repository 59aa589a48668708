"""Dead leaves: synthetic images of random shapes that hide one another.

Sources: Ruderman, "Origins of scaling in natural images", Vision Research 37 (1997), for occluding
objects of power-law size; Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41
(2001).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Images, random_colours, sum_over_axes

_LEAVES = 60
"""Leaves in an image: enough that they cover nearly all of it."""
_PIXELS_AT_ONCE = 1 << 20
"""Pixels of the images that are drawn together."""


def dead_leaves(count: int, channels: int, size: Sequence[int], seed: int = 0) -> Images:
    """Return images of balls and boxes that hide one another, their sizes drawn by a power law.

    >>> dead_leaves(2, 3, (8, 8)).shape
    (2, 3, 8, 8)
    >>> dead_leaves(1, 1, (50,)).shape, dead_leaves(1, 2, (4, 5, 6)).shape
    ((1, 1, 50), (1, 2, 4, 5, 6))
    """
    rng = np.random.default_rng(seed)
    together = max(1, _PIXELS_AT_ONCE // math.prod(size))
    parts = [np.zeros((0, channels, *size), np.float32)]
    for start in range(0, count, together):
        number = min(together, count - start)
        parts.append(_draw_together(number, channels, tuple(size), rng))
    return np.concatenate(parts)


def _draw_together(
    count: int, channels: int, size: tuple[int, ...], rng: np.random.Generator
) -> Images:
    """Draw images leaf by leaf, each leaf over those before it."""
    axes = (1,) * len(size)
    images = np.zeros((count, channels, *size), np.float32)
    grain = np.zeros((count, 1, *size), np.float32)
    for _ in range(_LEAVES):
        inside = _leaf(count, size, rng)[:, None]
        colours = random_colours(count, channels, rng).reshape(count, channels, *axes)
        np.copyto(images, colours, where=inside)
        roughness = np.abs(rng.normal(0, 0.02, (count, 1, *axes)))
        np.copyto(grain, roughness.astype(np.float32), where=inside)
    return images + grain * rng.standard_normal(images.shape, np.float32)


def _leaf(count: int, size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the mask `(count, *size)` of one leaf in each image, a ball or a turned box."""
    axes = len(size)
    longest = max(size, default=1)
    radius = np.minimum(longest, longest / 16 / (rng.random(count) + 0.06))
    centre = rng.random((count, axes)) * size
    is_ball = rng.random(count) < 0.5
    sides = _box_sides(count, axes, rng)
    middle = centre.astype(np.float32)
    reach = radius.astype(np.float32)[:, None]
    offsets = []
    for axis, length in enumerate(size):
        distance = np.arange(length, dtype=np.float32) - middle[:, axis, None]
        offsets.append(distance / reach)
    inside = np.ones((count, *size), np.bool_)
    squares = [np.square(offset[is_ball]) for offset in offsets]
    inside[is_ball] &= sum_over_axes(squares) < 1
    for side in sides[~is_ball].swapaxes(0, 1):
        parts = [side[:, axis, None] * offset[~is_ball] for axis, offset in enumerate(offsets)]
        inside[~is_ball] &= np.abs(sum_over_axes(parts)) < 1
    return inside


def _box_sides(count: int, axes: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the normals `(count, axes, axes)` of turned boxes' sides, over their half lengths.

    The first side is as long as the radius, the others are shorter.
    """
    turn = np.linalg.qr(rng.standard_normal((count, axes, axes)))[0]
    first = np.ones((count, min(axes, 1)))
    others = rng.uniform(0.3, 1, (count, max(axes - 1, 0)))
    lengths = np.concatenate([first, others], axis=1)
    sides: NDArray[np.float32] = (turn / lengths[:, :, None]).astype(np.float32)
    return sides

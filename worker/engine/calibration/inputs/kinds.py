"""The kinds of images that a model is calibrated on and judged by, by the shapes of its inputs.

Inputs with the shape of photographs get crops of photographs, others synthetic images of any number
of channels and axes. Small grey images are of digits and characters more often than of scenes, and
get synthetic ones too. Towards stored statistics images are distilled better from plain shapes.
Every second image to judge by is a crop of a photograph that nothing is fitted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.engine.calibration.harness import Harness
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.generators import Generator, Images, Size
from worker.engine.calibration.inputs.model_inputs import ImageInput
from worker.engine.calibration.inputs.mosaics import mosaics
from worker.engine.calibration.inputs.photographs import Scenes, is_photograph_shape, photographs

# The shorter side of grey images that are taken for scenes.
_SMALLEST_GREY_SCENE = 32

_Shape = tuple[int, tuple[int, ...]]
"""Channels and size of images."""


@dataclass(frozen=True)
class Kinds:
    """The generators of the images to fit on and of those to judge by.

    `report_members` name them, with the reason. `notes` say which photographs cannot be used.
    """

    fitting: Generator
    judging: Generator
    report_members: Mapping[str, Any]
    notes: Sequence[str] = ()


def choose_kinds(harness: Harness, scenes: Scenes) -> Kinds:
    """Return the kinds of images for a model."""
    shapes = _scene_shapes(harness.images)
    if not shapes:
        source = "synthetic images, since no input has the shape of photographs"
        return Kinds(dead_leaves, mosaics, {"images_from": source})
    judging = alternating(mosaics, _for_shapes(shapes, photographs(scenes.judging), mosaics))
    members = {
        "images_from": "crops of photographs, since the inputs have their shape",
        "photographs": len(scenes.fitting) + len(scenes.judging),
        "photographs_mounted": scenes.mounted,
    }
    if harness.program.normalises:
        members["images_from"] = (
            "synthetic images, since the model stores statistics; half of those to judge by are "
            "crops of photographs"
        )
        members["photographs"] = len(scenes.judging)
        return Kinds(dead_leaves, judging, members, scenes.notes)
    crops = _for_shapes(shapes, photographs(scenes.fitting), dead_leaves)
    return Kinds(crops, judging, members, scenes.notes)


def alternating(first: Generator, second: Generator) -> Generator:
    """Return a generator of images of two kinds in turn.

    >>> zeros = lambda count, channels, size, seed: np.zeros((count, channels, *size), np.float32)
    >>> ones = lambda count, channels, size, seed: np.ones((count, channels, *size), np.float32)
    >>> alternating(zeros, ones)(3, 1, (), 0)[:, 0].tolist()
    [0.0, 1.0, 0.0]
    """

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        images = np.empty((count, channels, *size), np.float32)
        images[::2] = first(count - count // 2, channels, size, seed)
        images[1::2] = second(count // 2, channels, size, seed)
        return images

    return generate


def _scene_shapes(images: Sequence[ImageInput]) -> set[_Shape]:
    """Return the shapes of the inputs that get photographs.

    Images with soft edges are drawn twice as large: both shapes belong to an input.
    """
    shapes: set[_Shape] = set()
    for image in images:
        is_small = image.channels == 1 and min(image.size, default=0) < _SMALLEST_GREY_SCENE
        if is_photograph_shape(image.channels, image.size) and not is_small:
            shapes.add((image.channels, image.size))
            shapes.add((image.channels, tuple(2 * length for length in image.size)))
    return shapes


def _for_shapes(shapes: set[_Shape], crops: Generator, others: Generator) -> Generator:
    """Return a generator of crops for these shapes, and of other images for all others."""

    def generate(count: int, channels: int, size: Size, seed: int) -> Images:
        generator = crops if (channels, tuple(size)) in shapes else others
        return generator(count, channels, size, seed)

    return generate

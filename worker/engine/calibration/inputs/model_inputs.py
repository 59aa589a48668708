"""Inputs for a whole model: images where it takes numbers, zeros for its indices and flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Generator, Images
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.model import TensorSpec

AnyArray = NDArray[np.generic]
"""An array of any type."""

Arrays = Mapping[str, AnyArray]
"""Arrays by input name."""

Specs = Sequence[TensorSpec]
"""A model's inputs, in order."""

Shapes = Mapping[str, tuple[int, ...]]
"""A full shape for every input, by name."""

# A last axis of at most this length is taken for channels, if the axis after the batch is
# longer: grey, colours, or colours and transparency.
_MOST_COLOURS = 4
# Between the seeds of two inputs, so that they get different images.
_SEED_STEP = 1000


@dataclass(frozen=True)
class ImageInput:
    """An input of images, signals, volumes or vectors: numbers with a batch and a channel axis.

    `channels_last` says whether the channels are the last axis or follow the batch.
    """

    name: str
    dtype: np.dtype[np.generic]
    channels: int
    size: tuple[int, ...]
    channels_last: bool

    @property
    def is_whole(self) -> bool:
        """Whether it takes integers, as raw images are: their type fixes the value range."""
        return not np.issubdtype(self.dtype, np.floating)

    def shaped(self, images: Images, values: ValueRange) -> AnyArray:
        """Return images `(count, channels, *size)` of values around 0 to 1 as input arrays."""
        scaled = self._as_bytes(images) if self.is_whole else values.apply(images)
        if self.channels_last:
            scaled = np.moveaxis(scaled, 1, -1)
        return scaled.astype(self.dtype)

    def _as_bytes(self, images: Images) -> Images:
        """Return images from 0 to 255, or from -128 to 127 for signed bytes."""
        # Integers outside the type's range would wrap around.
        within = np.clip(images, 0, 1)
        scaled: Images = np.rint(within * 255)
        if self.dtype == np.int8:
            scaled = scaled - 128
        return scaled


def image_input(spec: TensorSpec, shape: Sequence[int]) -> ImageInput | None:
    """Return an input as one of images; None where it takes none.

    Bytes with three axes or more are images; other integers are indices.

    >>> image = image_input(TensorSpec("x", "float32", None), (1, 24, 24, 3))
    >>> image.channels, image.size, image.channels_last
    (3, (24, 24), True)
    >>> image_input(TensorSpec("token", "int64", None), (1, 128)) is None
    True
    """
    dtype = np.dtype(spec.dtype)
    axes = len(shape)
    is_bytes = dtype in (np.uint8, np.int8) and axes > 2
    is_number = np.issubdtype(dtype, np.floating)
    if axes < 2 or not (is_number or is_bytes):
        return None
    if axes > 2 and shape[-1] <= _MOST_COLOURS < shape[1]:
        return ImageInput(spec.name, dtype, shape[-1], tuple(shape[1:-1]), channels_last=True)
    return ImageInput(spec.name, dtype, shape[1], tuple(shape[2:]), channels_last=False)


def image_inputs(specs: Specs, shapes: Shapes) -> dict[str, ImageInput]:
    """Return the inputs that take a batch of images, by name.

    The first input of images sets the batch size. An input with another first axis, as the state of
    a recurrent network has, is no batch.

    >>> specs = [TensorSpec("sound", "float32", None), TensorSpec("state", "float32", None)]
    >>> list(image_inputs(specs, {"sound": (1, 512), "state": (2, 1, 128)}))
    ['sound']
    """
    by_name: dict[str, ImageInput] = {}
    batch = 0
    for spec in specs:
        images = image_input(spec, spec.axes(shapes[spec.name]))
        if images is None:
            continue
        own_batch = shapes[spec.name][0]
        if not by_name:
            batch = own_batch
        if own_batch == batch:
            by_name[spec.name] = images
    return by_name


def make_inputs(
    specs: Specs,
    shapes: Shapes,
    count: int,
    generator: Generator,
    values: ValueRange,
    seed: int,
) -> Arrays:
    """Return arrays for `count` samples: that many images, and one array for each other input.

    Other inputs have the shape that is bound to them. They get zeros, which are valid as an index,
    a flag and a first state; floating-point ones of at most one axis get ones, and an integer
    without axes gets the number bound to it.
    """
    arrays: dict[str, AnyArray] = {}
    batches = image_inputs(specs, shapes)
    for position, spec in enumerate(specs):
        images = batches.get(spec.name)
        if spec.is_number:
            arrays[spec.name] = spec.number(shapes[spec.name])
        elif images is not None:
            own_seed = seed + _SEED_STEP * position
            generated = generator(count, images.channels, images.size, own_seed)
            arrays[spec.name] = images.shaped(generated, values)
        else:
            arrays[spec.name] = _neutral(np.dtype(spec.dtype), shapes[spec.name])
    return arrays


def _neutral(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> AnyArray:
    """Return ones for a factor, a floating-point input of at most one axis, and zeros otherwise."""
    is_factor = len(shape) < 2 and np.issubdtype(dtype, np.floating)
    fill = np.ones if is_factor else np.zeros
    return fill(shape, dtype)

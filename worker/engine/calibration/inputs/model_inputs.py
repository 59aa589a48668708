"""Inputs for a whole model: images where it takes numbers, zeros for its indices and flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.generators import Generator, Images
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.model import TensorSpec
from worker.engine.numerics.neutral_inputs import is_mask, is_position, neutral

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
# Token ids, masks: one number for each element of each sample.
_AXES_OF_SEQUENCES = 2
# Between the seeds of two inputs, so that they get different images.
_SEED_STEP = 1000


@dataclass(frozen=True)
class ImageInput:
    """An input of images, signals, volumes or vectors: numbers with a batch and a channel axis.

    `channels_last` says whether the channels are the last axis or follow the batch. `rows` is the
    number of rows that it selects from, for indices such as token ids.
    """

    name: str
    dtype: np.dtype[np.generic]
    channels: int
    size: tuple[int, ...]
    channels_last: bool
    rows: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it takes integers, as raw images are: their type fixes the value range."""
        return not np.issubdtype(self.dtype, np.floating)

    def shaped(self, images: Images, values: ValueRange) -> AnyArray:
        """Return images `(count, channels, *size)` of values around 0 to 1 as input arrays."""
        if self.rows is not None:
            return self._as_indices(images)
        scaled = self._as_bytes(images) if self.is_whole else values.apply(images)
        if self.channels_last:
            scaled = np.moveaxis(scaled, 1, -1)
        return scaled.astype(self.dtype)

    def _as_indices(self, images: Images) -> AnyArray:
        """Return random indices of the images' shape, the same for the same images."""
        content = np.ascontiguousarray(images).tobytes()
        seed = crc32(content)
        rng = np.random.default_rng(seed)
        indices = rng.integers(0, self.rows, images.shape)
        return indices.astype(self.dtype)

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

    Bytes with three axes or more are images. Integers that select rows of a table, a sequence for
    each sample, are drawn as images are. Other integers, masks and positions are no images.

    >>> image = image_input(TensorSpec("x", "float32", None), (1, 24, 24, 3))
    >>> image.channels, image.size, image.channels_last
    (3, (24, 24), True)
    >>> image_input(TensorSpec("token", "int64", None), (1, 128)) is None
    True
    """
    name = spec.name
    dtype = np.dtype(spec.dtype)
    axes = len(shape)
    is_sequence = axes == _AXES_OF_SEQUENCES
    if is_position(spec) or (is_mask(spec) and is_sequence):
        return None
    if spec.rows is not None and is_sequence:
        return ImageInput(
            name, dtype, shape[1], (), channels_last=False, rows=spec.rows
        )
    is_bytes = dtype in (np.uint8, np.int8) and axes > 2
    is_number = np.issubdtype(dtype, np.floating)
    if axes < 2 or not (is_number or is_bytes):
        return None
    if axes > 2 and shape[-1] <= _MOST_COLOURS < shape[1]:
        inner_size = tuple(shape[1:-1])
        return ImageInput(name, dtype, shape[-1], inner_size, channels_last=True)
    size = tuple(shape[2:])
    return ImageInput(name, dtype, shape[1], size, channels_last=False)


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
        # Values that the user states are the same in every run.
        if images is None or spec.stated(shapes[spec.name]) is not None:
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

    Other inputs have the shape that is bound to them, and neutral values, or the values that are
    bound to them.
    """
    arrays: dict[str, AnyArray] = {}
    batches = image_inputs(specs, shapes)
    for position, spec in enumerate(specs):
        images = batches.get(spec.name)
        stated = spec.stated(shapes[spec.name])
        if stated is not None:
            arrays[spec.name] = stated
        elif images is not None:
            own_seed = seed + _SEED_STEP * position
            generated = generator(count, images.channels, images.size, own_seed)
            arrays[spec.name] = images.shaped(generated, values)
        else:
            arrays[spec.name] = neutral(spec, specs, shapes)
    return arrays

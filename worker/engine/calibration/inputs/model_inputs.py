"""Synthetic inputs for a whole model: images where it takes numbers, zeros where it takes indices or flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.calibration.inputs.ranges import Range
from worker.engine.calibration.inputs.synthetic import Generator
from worker.engine.model import TensorSpec

Arrays = Mapping[str, NDArray[np.generic]]

_MOST_COLOURS = 4


@dataclass(frozen=True)
class ImageInput:
    """An input that takes images, signals, volumes or vectors: numbers with an axis for the batch and one for channels.

    `channels` is 1 where the shape has no axis for them; `channels_last` tells where theirs is.
    """

    name: str
    dtype: np.dtype[np.generic]
    channels: int
    size: tuple[int, ...]
    channels_last: bool

    @property
    def is_whole(self) -> bool:
        """Whether it takes whole numbers, as raw images are: their range is that of their type."""
        return not np.issubdtype(self.dtype, np.floating)

    def shaped(self, images: NDArray[np.float32], values: Range) -> NDArray[np.generic]:
        """Return images `(count, channels, *size)` of values around 0 to 1 as the input takes them."""
        if self.is_whole:
            scaled = np.rint(np.clip(images, 0, 1) * 255) - (128 if self.dtype == np.int8 else 0)
        else:
            scaled = values.apply(images)
        return (np.moveaxis(scaled, 1, -1) if self.channels_last else scaled).astype(self.dtype)


def image_input(spec: TensorSpec, shape: Sequence[int]) -> ImageInput | None:
    """Say what images an input takes; None where it takes none.

    Raw bytes with three axes or more are images; other whole numbers are indices.

    >>> image_input(TensorSpec("x", "float32", None), (1, 24, 24, 3))
    ImageInput(name='x', dtype=dtype('float32'), channels=3, size=(24, 24), channels_last=True)
    >>> image_input(TensorSpec("token", "int64", None), (1, 128)) is None
    True
    """
    dtype = np.dtype(spec.dtype)
    bytes_of_images = dtype in (np.uint8, np.int8) and len(shape) > 2
    if len(shape) < 2 or not (np.issubdtype(dtype, np.floating) or bytes_of_images):
        return None
    channels_last = len(shape) > 2 and shape[-1] <= _MOST_COLOURS < shape[1]
    size = shape[1:-1] if channels_last else shape[2:]
    return ImageInput(
        spec.name, dtype, shape[-1] if channels_last else shape[1], tuple(size), channels_last
    )


def image_inputs(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, ImageInput]:
    """Return, by name, the inputs that take a batch of images, with as many of them as the first that takes images.

    What has another first axis, as the state of a recurrent network has, is no batch.

    >>> specs = [TensorSpec("sound", "float32", None), TensorSpec("state", "float32", None)]
    >>> list(image_inputs(specs, {"sound": (1, 512), "state": (2, 1, 128)}))
    ['sound']
    """
    found = {spec.name: image_input(spec, spec.axes(shapes[spec.name])) for spec in specs}
    batch = next((shapes[name][0] for name, images in found.items() if images is not None), 0)
    return {
        name: images
        for name, images in found.items()
        if images is not None and shapes[name][0] == batch
    }


def make_inputs(
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
    generator: Generator,
    values: Range,
    seed: int,
) -> Arrays:
    """Return arrays for `count` samples: one more axis length than bound for images, as bound for everything else.

    What takes no images gets zeros, valid as index, as flag and as a first state; floating-point numbers of at most one
    axis are 1, and a whole number without axes is what its shape says.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    batches = image_inputs(specs, shapes)
    for position, spec in enumerate(specs):
        shape = shapes[spec.name]
        images = batches.get(spec.name)
        if spec.is_number:
            arrays[spec.name] = spec.number(shape)
        elif images is not None:
            made = generator(count, images.channels, images.size, seed + 1000 * position)
            arrays[spec.name] = images.shaped(made, values)
        else:
            is_factor = len(shape) < 2 and np.issubdtype(np.dtype(spec.dtype), np.floating)
            fill = np.ones if is_factor else np.zeros
            arrays[spec.name] = fill(shape, np.dtype(spec.dtype))
    return arrays

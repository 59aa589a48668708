"""A program with the input sizes and the batch size at which calibration runs it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.inputs.generators import Generator, noisy
from worker.engine.calibration.inputs.model_inputs import (
    AnyArray,
    Arrays,
    ImageInput,
    Shapes,
    make_inputs,
)
from worker.engine.calibration.inputs.ranges import ValueRange
from worker.engine.calibration.replay import Batch
from worker.engine.model import TensorSpec
from worker.engine.numerics import device
from worker.engine.program import Program


class WeakCalibrationError(Exception):
    """Running the model teaches nothing; the message gives the reason for the report."""


@dataclass(frozen=True)
class Harness:
    """A program with the shapes of its inputs, and what it is run on.

    `images` are the inputs that take images, `batch` of them a run. `sample_bytes` are the live
    values of one image, at most. `restores` is true of a model that turns an image into one of the
    same shape, as a denoiser does.
    """

    program: Program
    specs: tuple[TensorSpec, ...]
    shapes: Shapes
    images: tuple[ImageInput, ...]
    batch: int
    sample_bytes: int
    restores: bool = False

    @property
    def image_names(self) -> list[str]:
        """The names of the inputs that take images."""
        return [images.name for images in self.images]

    @property
    def fixed_batch(self) -> int:
        """The batch size that the model is bound to, 1 where it takes no images."""
        if self.images:
            return self.shapes[self.images[0].name][0]
        return 1

    @property
    def gradient_input(self) -> str | None:
        """The input whose images gradients can change: the only one, if it takes no integers."""
        if len(self.images) != 1 or self.images[0].is_whole:
            return None
        return self.images[0].name

    def synthetic(
        self, generator: Generator, values: ValueRange, count: int, seed: int
    ) -> list[Batch]:
        """Return batches of synthetic images: `count` of them, rounded up to whole batches.

        A model that restores images sees noisy ones.
        """
        generate = noisy(generator) if self.restores else generator
        rounded_up = -(-count // self.batch) * self.batch
        arrays = make_inputs(
            self.specs, self.shapes, rounded_up, generate, values, seed
        )
        return self.batches(arrays)

    def batches(self, arrays: Arrays) -> list[Batch]:
        """Cut arrays of samples into batches; a last one that is not full is left out."""
        tensors = {name: _to_tensor(array) for name, array in arrays.items()}
        counts = (len(tensors[name]) for name in self.image_names)
        count = min(counts, default=self.batch)
        last = count - self.batch
        starts = range(0, last + 1, self.batch)
        return [self._slice(tensors, start) for start in starts]

    def _slice(self, tensors: Batch, start: int) -> Batch:
        """Return the batch that begins at an image; other inputs are the same in every batch."""
        batch = dict(tensors)
        for name in self.image_names:
            batch[name] = tensors[name][start : start + self.batch]
        return batch


def _to_tensor(array: AnyArray) -> Tensor:
    """Return an array as programs take it: float32 for half precision, images channels-last.

    torch computes images whose channels lie together up to twice as fast, and every step passes
    that memory format on.
    """
    dtype = array.dtype
    if dtype == np.float16:
        dtype = np.dtype(np.float32)
    exact = np.asarray(array, dtype, order="C")
    tensor = device.placed(torch.from_numpy(exact))
    if tensor.dim() != 4:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)

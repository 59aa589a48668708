"""A model as calibration runs it: its program, the size of the images and of the batches that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.calibration.inputs.model_inputs import (
    Arrays,
    ImageInput,
    image_inputs,
    make_inputs,
)
from worker.engine.calibration.inputs.ranges import Range, known_ranges
from worker.engine.calibration.inputs.synthetic import Generator, dead_leaves, noisy, softened
from worker.engine.calibration.replay import Batch, footprints
from worker.engine.model import TensorSpec
from worker.engine.numerics import device
from worker.engine.program import Program, StepError, run

_MOST_SAMPLES = 32
_BATCH_BYTES = 24 << 20
"""A batch's values fit into this, so that they stay near the processor."""
_LONGEST_SIDE = 64
_TOLERANCE = 1e-3
_ANY_RANGE = replace(known_ranges(1)[0], strict=True)


class WeakCalibrationError(Exception):
    """Nothing can be learned from running the model; the message says why, in words for the report."""


@dataclass(frozen=True)
class Subject:
    """A program with the shapes of its inputs, `batch` samples a run, `sample_bytes` of values alive a sample.

    It `restores` where it makes of an image one of the same channels and size, as what takes noise away does.
    """

    program: Program
    specs: tuple[TensorSpec, ...]
    shapes: Mapping[str, tuple[int, ...]]
    images: tuple[ImageInput, ...]
    batch: int
    sample_bytes: int
    restores: bool = False

    def synthetic(self, generator: Generator, values: Range, count: int, seed: int) -> list[Batch]:
        """Return synthetic samples, `count` or up to a batch more, in batches.

        Half of them have soft edges, unless the model stores statistics that images can be bent towards; where there is
        to restore they are noisy.
        """
        whole = -(-count // self.batch) * self.batch
        made = generator if self.program.normalises else softened(generator)
        made = noisy(made) if self.restores else made
        return self.batches(make_inputs(self.specs, self.shapes, whole, made, values, seed))

    def batches(self, arrays: Arrays) -> list[Batch]:
        """Cut arrays of samples into batches; what does not fill the last one is left out."""
        tensors = {name: _tensor(array) for name, array in arrays.items()}
        names = [images.name for images in self.images]
        count = min((len(tensors[name]) for name in names), default=self.batch)
        return [
            {
                name: tensor[at : at + self.batch] if name in names else tensor
                for name, tensor in tensors.items()
            }
            for at in range(0, count - self.batch + 1, self.batch)
        ]

    def real(self, samples: Arrays, most: int) -> list[Batch]:
        """Cut real samples, whose images have this subject's number of axes, into batches of one size.

        Images larger than the program is run at are cut into pieces of that size. Of more than `most` samples as many
        are taken, from first to last; what the model takes beside images and the samples lack is made up.
        """
        pieces = {images.name: _pieces(samples[images.name], images) for images in self.images}
        count = min(map(len, pieces.values()))
        least = self.shapes[self.images[0].name][0]
        kept = max(least, min(count, most) // least * least)
        chosen = np.linspace(0, count - 1, kept).astype(np.int64)
        largest = min(self.batch, kept)
        sizes = range(largest // least * least, max(least, largest // 2) - 1, -least)
        batch = max(sizes, key=lambda size: kept // size * size)
        others = make_inputs(self.specs, self.shapes, batch, dead_leaves, known_ranges(1)[0], 0)
        taken = {name: array[chosen] for name, array in pieces.items()}
        return replace(self, batch=batch).batches({**others, **samples, **taken})

    @property
    def gradient_input(self) -> str | None:
        """The input whose images can be changed little by little: the only one, if it takes no whole numbers."""
        return (
            self.images[0].name if len(self.images) == 1 and not self.images[0].is_whole else None
        )


def subject(
    program: Program,
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[int, ...]],
    longest: int = _LONGEST_SIDE,
) -> Subject:
    """Find out, by trial, at which size and in which batches a program is best run.

    1. Where a smaller image gives proportionally smaller outputs, as in networks without a head, images of at most
       `longest` a side are as good and far cheaper.
    2. Where samples run together give what each gives alone, as many run together as fit into 24 MiB.

    Raises:
        StepError: the program does not run.
    """
    found = _at(program, specs, shapes)
    found = _smaller(found, longest) or found
    found = replace(found, restores=_restores(found))
    least = found.batch
    wanted = max(
        least, min(_MOST_SAMPLES, _BATCH_BYTES // max(found.sample_bytes, 1)) // least * least
    )
    if found.images and wanted > least and _runs_together(found):
        return replace(found, batch=wanted)
    return found


def _at(
    program: Program, specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> Subject:
    images = tuple(image_inputs(specs, shapes).values())
    batch = shapes[images[0].name][0] if images else 1
    bare = Subject(program, tuple(specs), shapes, images, batch, 0)
    with torch.no_grad():
        peak = max((running for _, running in footprints(program, _probe(bare))), default=0)
        return replace(bare, sample_bytes=peak // batch)


@torch.no_grad()
def _restores(subject: Subject) -> bool:
    batch, names = _probe(subject), [images.name for images in subject.images]
    outputs = run(subject.program, batch)
    return (
        len(names) == len(outputs) == 1
        and getattr(outputs[0], "shape", None) == batch[names[0]].shape
    )


def _probe(subject: Subject) -> Batch:
    return subject.synthetic(dead_leaves, _ANY_RANGE, subject.batch, 0)[0]


@torch.no_grad()
def _runs_together(subject: Subject) -> bool:
    """Whether two batches stacked give what each of them gives."""
    first, second = subject.synthetic(dead_leaves, _ANY_RANGE, 2 * subject.batch, 0)
    names = {images.name for images in subject.images}
    both = {
        name: torch.cat([first[name], second[name]]) if name in names else first[name]
        for name in first
    }
    try:
        together = run(subject.program, both)
    except StepError:
        return False  # sizes that the model fixes
    apart = zip(run(subject.program, first), run(subject.program, second), strict=True)
    return all(_are_halves(whole, *parts) for whole, parts in zip(together, apart, strict=True))


def _are_halves(whole: object, first: object, second: object) -> bool:
    if (
        not isinstance(whole, Tensor)
        or not isinstance(first, Tensor)
        or not isinstance(second, Tensor)
    ):
        return False
    if (
        whole.dim() == 0
        or len(whole) != len(first) + len(second)
        or whole.shape[1:] != first.shape[1:]
    ):
        return False
    if not whole.is_floating_point() or not whole.numel():
        return True
    expected = torch.cat([first, second])
    return bool(
        (whole - expected).abs().max()
        <= _TOLERANCE * expected.abs().max() + torch.finfo(whole.dtype).tiny
    )


@torch.no_grad()
def _smaller(subject: Subject, longest: int) -> Subject | None:
    """Return the subject at a smaller image size where its outputs shrink in proportion; None where they do not."""
    if len(subject.images) != 1 or max(subject.images[0].size, default=0) <= longest:
        return None
    images = subject.images[0]
    divisor = -(-max(images.size) // longest)
    if any(side % divisor for side in images.size):
        return None
    size = tuple(side // divisor for side in images.size)
    channels = (images.channels,)
    shape = (
        (subject.batch, *size, *channels)
        if images.channels_last
        else (subject.batch, *channels, *size)
    )
    try:
        smaller = _at(subject.program, subject.specs, {**subject.shapes, images.name: shape})
        given = run(smaller.program, _probe(smaller))
    except StepError:
        return None  # sizes that the model fixes
    ratio = divisor ** len(size)
    pairs = zip(run(subject.program, _probe(subject)), given, strict=True)
    shrunk = all(
        isinstance(a, Tensor) and isinstance(b, Tensor) and a.numel() == ratio * b.numel()
        for a, b in pairs
    )
    return smaller if shrunk else None


def _pieces(array: NDArray[np.generic], images: ImageInput) -> NDArray[np.generic]:
    """Cut images into as many of the input's size as fit side by side: all first pieces, then all second ones."""
    first = 1 if images.channels_last else 2
    sizes = array.shape[first : first + len(images.size)]
    starts = product(
        *(range(0, whole - size + 1, size) for whole, size in zip(sizes, images.size, strict=True))
    )
    before = (slice(None),) * first
    return np.concatenate(
        [array[(*before, *map(slice, at, np.add(at, images.size)))] for at in starts]
        if sizes != images.size
        else [array]
    )


def _tensor(array: NDArray[np.generic]) -> Tensor:
    """Return an array as programs take it: in float32 where the model has half precision, and channels last in memory.

    torch computes images whose channels lie together up to twice as fast, and every step hands that order on.
    """
    exact = np.asarray(array, np.float32 if array.dtype == np.float16 else array.dtype, order="C")
    tensor = device.placed(torch.from_numpy(exact))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

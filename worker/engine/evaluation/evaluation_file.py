"""Read an evaluation file, and check it against the model's inputs."""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convpress.gate.samples import (
    EVALUATION,
    LABELS,
    LARGEST_BYTES,
    TARGETS,
    Header,
    evaluation_headers,
)
from convpress.shapes import format_shape
from worker.engine.model import Inputs, Shapes, TensorSpec

AnyArray = NDArray[np.generic]
"""An array of any type."""

_LONGEST_NAME = 80
_LONGEST_EXPECTED = 600


@dataclass(frozen=True)
class LabelledSamples:
    """Samples along the first axis of each input, and the label or target of each.

    `stated` are inputs whose values the job states: they are the same in every run. `batch` is the
    number of samples of one run.
    """

    inputs: Mapping[str, AnyArray]
    stated: Inputs
    truth: AnyArray
    batch: int

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.truth)

    def runs(self) -> Iterator[tuple[Inputs, AnyArray]]:
        """Yield the inputs of each run, and the labels or targets of its samples.

        The last run repeats its last sample where its batch is not full.
        """
        for start in range(0, self.count, self.batch):
            stop = start + self.batch
            positions = np.arange(start, stop)
            last = self.count - 1
            indices = np.minimum(positions, last)
            arrays = {name: array[indices] for name, array in self.inputs.items()}
            inputs = {**self.stated, **arrays}
            truth = self.truth[start:stop]
            yield inputs, truth


def read_evaluation(
    path: Path, metric: str, specs: Sequence[TensorSpec], shapes: Shapes
) -> LabelledSamples:
    """Return the samples of an evaluation, in the types of the model's inputs.

    Raises:
        Refusal: `evaluation_invalid` for a file that holds no arrays, for names, shapes and types
            that are not the model's, for different numbers of samples, and for numbers that are not
            finite or that the input cannot hold.
    """
    headers = dict(evaluation_headers(path, metric))
    truth_name = LABELS if LABELS in headers else TARGETS
    truth_header = headers.pop(truth_name)
    stated = {}
    sampled = []
    for spec in specs:
        shape = shapes[spec.name]
        value = spec.stated(shape)
        if value is None:
            sampled.append(spec)
        else:
            stated[spec.name] = value
    _check_names(headers, sampled, shapes)
    for spec in sampled:
        _check_header(headers[spec.name], spec, shapes[spec.name])
    _check_counts(headers, truth_name, truth_header)
    _check_memory(headers, sampled)
    arrays = _load(path)
    inputs = {spec.name: _cast(arrays[spec.name], spec) for spec in sampled}
    batch = _batch(sampled, shapes)
    truth = arrays[truth_name]
    return LabelledSamples(inputs, stated, truth, batch)


def _batch(specs: Sequence[TensorSpec], shapes: Shapes) -> int:
    """Return the samples of one run: the first axis of every input.

    Raises:
        Refusal: `evaluation_invalid` where it differs, as in recurrent networks.
    """
    sizes = {shapes[spec.name][0] for spec in specs}
    if len(sizes) == 1:
        return sizes.pop()
    raise EVALUATION.invalid(
        "the first axes of the model's inputs differ, so that samples cannot lie along them",
        "a model whose inputs all have the batch as their first axis",
        ", ".join(f"{spec.name} {format_shape(shapes[spec.name])}" for spec in specs),
    )


def _check_names(
    headers: Mapping[str, Header], specs: Sequence[TensorSpec], shapes: Shapes
) -> None:
    """Check that there is an array for each input, and no other."""
    names = [spec.name for spec in specs]
    unknown = sorted(headers.keys() - set(names))
    missing = [name for name in names if name not in headers]
    if not (unknown or missing):
        return
    detail = (
        f"there are no samples of input {missing[0][:_LONGEST_NAME]!r}"
        if missing
        else ""
    )
    if unknown:
        detail = f"the model has no input {unknown[0][:_LONGEST_NAME]!r}"
    raise EVALUATION.invalid(
        detail, _expected_arrays(specs, shapes), ", ".join(headers) or "none"
    )


def _check_header(header: Header, spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Check the shape and the type of one input's array; its first axis is free."""
    sizes = shape[1:]
    if not shape or not header.shape or header.shape[1:] != sizes:
        raise EVALUATION.invalid(
            f"the samples of input {spec.name!r} have another shape",
            format_shape((None, *shape[1:])),
            format_shape(header.shape) or "()",
        )
    # NumPy names floating-point types f2, f4 and f8, after their byte order.
    is_float = header.dtype[1] == "f"
    dtype = np.dtype(spec.dtype)
    if is_float and not np.issubdtype(dtype, np.floating):
        raise EVALUATION.invalid(
            f"input {spec.name!r} takes {spec.dtype}", "whole numbers", header.dtype
        )


def _check_counts(
    headers: Mapping[str, Header], truth_name: str, truth: Header
) -> None:
    """Check that inputs and labels or targets have one number of samples, at least one."""
    if not truth.shape or truth.shape[0] == 0:
        raise EVALUATION.invalid(
            f"there are no {truth_name}",
            "one for each sample",
            format_shape(truth.shape) or "()",
        )
    for name, header in headers.items():
        if header.shape[0] != truth.shape[0]:
            raise EVALUATION.invalid(
                f"input {name[:_LONGEST_NAME]!r} and {truth_name} have different numbers of "
                "samples",
                f"{header.shape[0]} {truth_name}",
                str(truth.shape[0]),
            )


def _check_memory(headers: Mapping[str, Header], specs: Sequence[TensorSpec]) -> None:
    """Check the memory of the arrays in the inputs' types, before they are read."""
    total = 0
    for spec in specs:
        total += np.dtype(spec.dtype).itemsize * math.prod(headers[spec.name].shape)
    if total > LARGEST_BYTES:
        raise EVALUATION.invalid(
            "in the model's types the samples take too much memory",
            f"at most {LARGEST_BYTES} bytes",
            f"{total}",
        )


def _load(path: Path) -> dict[str, AnyArray]:
    """Read all arrays, whose headers were checked."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        size = f"{path.stat().st_size} bytes"
        raise EVALUATION.invalid(
            f"the file is damaged: {error}", "an undamaged file", size
        ) from error


def _cast(array: AnyArray, spec: TensorSpec) -> AnyArray:
    """Return an array in an input's type, if that can hold its values."""
    dtype = np.dtype(spec.dtype)
    # values beyond the type become infinite or wrap around, which the checks below refuse
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if np.issubdtype(dtype, np.floating):
        if not np.isfinite(cast).all():
            raise EVALUATION.invalid(
                f"the samples of input {spec.name!r} have NaN or infinity",
                f"finite {spec.dtype}",
                "others",
            )
    elif not (cast == array).all():
        raise EVALUATION.invalid(
            f"the samples of input {spec.name!r} have values that it cannot hold",
            spec.dtype,
            f"{array.min()} to {array.max()}",
        )
    return cast


def _expected_arrays(specs: Sequence[TensorSpec], shapes: Shapes) -> str:
    """Return the arrays that a file for the model has, in words."""
    parts = []
    for spec in specs:
        sizes = shapes[spec.name][1:]
        shape = format_shape((None, *sizes))
        parts.append(f"{spec.name} ({spec.dtype} {shape})")
    return f"{', '.join(parts)}; and labels or targets"[:_LONGEST_EXPECTED]

"""Read a file of real samples, and check it against the model's inputs."""

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convpress.gate.samples import LARGEST_BYTES, Header, headers, invalid
from convpress.shapes import format_shape
from worker.engine.calibration.inputs.model_inputs import (
    AnyArray,
    Arrays,
    Shapes,
    Specs,
    image_inputs,
)
from worker.engine.model import TensorSpec

# The name of the array in a file of a single one.
_UNNAMED = ""
_LONGEST_NAME = 80
_LONGEST_EXPECTED = 300


def read_samples(path: Path, specs: Specs, shapes: Shapes) -> Arrays:
    """Return samples by input, in the inputs' types.

    An input of images has any number of them. Every other input has one run's array, or none.

    Raises:
        Refusal: `samples_invalid` for a file that holds no arrays, for names, shapes and types that
            are not the model's, for fewer samples than one run takes, and for numbers that are not
            finite or that the input cannot hold.
    """
    by_name = {spec.name: spec for spec in specs}
    named_headers = headers(path)
    by_input = _named(named_headers, specs, shapes)
    _check_headers(by_input, specs, shapes)
    _check_memory(by_input, by_name)
    arrays = _load(path)
    if _UNNAMED in arrays:
        arrays = {specs[0].name: arrays[_UNNAMED]}
    items = arrays.items()
    return {name: _cast(array, by_name[name]) for name, array in items}


def _check_memory(
    by_input: Mapping[str, Header], by_name: Mapping[str, TensorSpec]
) -> None:
    """Check the memory of the arrays in the inputs' types, before they are read."""
    total = 0
    for name, header in by_input.items():
        dtype = np.dtype(by_name[name].dtype)
        total += dtype.itemsize * math.prod(header.shape)
    if total > LARGEST_BYTES:
        raise invalid(
            "in the model's types the samples take too much memory",
            f"at most {LARGEST_BYTES} bytes",
            f"{total}",
        )


def _named(
    file_headers: Mapping[str, Header],
    specs: Specs,
    shapes: Shapes,
) -> Mapping[str, Header]:
    """Return the headers by input: a single array without a name belongs to the only input."""
    if list(file_headers) == [_UNNAMED]:
        if len(specs) == 1:
            return {specs[0].name: file_headers[_UNNAMED]}
        raise invalid(
            "the file has one array, and the model several inputs",
            _expected_arrays(specs, shapes),
            "one array",
        )
    names = {spec.name for spec in specs}
    unknown = sorted(file_headers.keys() - names)
    if unknown:
        raise invalid(
            f"the model has no input {unknown[0][:_LONGEST_NAME]!r}",
            _expected_arrays(specs, shapes),
            ", ".join(unknown),
        )
    return file_headers


def _check_headers(
    by_name: Mapping[str, Header],
    specs: Specs,
    shapes: Shapes,
) -> None:
    """Check shapes and types, and that all inputs of images have the same number of them."""
    counts = set()
    batches = image_inputs(specs, shapes)
    for spec in specs:
        many = spec.name in batches
        header = by_name.get(spec.name)
        if header is not None:
            _check_header(header, spec, spec.axes(shapes[spec.name]), many=many)
        elif many:
            raise invalid(
                f"there are no samples of input {spec.name!r}",
                _expected_arrays(specs, shapes),
                ", ".join(by_name),
            )
        if many and header is not None:
            counts.add(header.shape[0])
    if len(counts) > 1:
        numbers = ", ".join(map(str, sorted(counts)))
        raise invalid(
            "the inputs have different numbers of samples", "one number", numbers
        )


def _check_header(
    header: Header, spec: TensorSpec, shape: tuple[int, ...], *, many: bool
) -> None:
    """Check one array; with `many`, its first axis is free."""
    own = header.shape
    dtype = np.dtype(spec.dtype)
    free = 1 if many else 0
    if len(own) != len(shape) or own[free:] != shape[free:]:
        raise invalid(
            f"the samples of input {spec.name!r} have another shape",
            _format(shape, many=many),
            format_shape(own) or "()",
        )
    if many and own[0] < shape[0]:
        raise invalid(
            f"there are too few samples of input {spec.name!r}",
            f"at least {shape[0]}",
            str(own[0]),
        )
    # NumPy names floating-point types f2, f4 and f8, after their byte order.
    is_float = header.dtype[1] == "f"
    if is_float and not np.issubdtype(dtype, np.floating):
        raise invalid(
            f"input {spec.name!r} takes {spec.dtype}", "whole numbers", header.dtype
        )


def _load(path: Path) -> dict[str, AnyArray]:
    """Read all arrays; the only one of a file without names is unnamed.

    The caller has checked the headers.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {_UNNAMED: content}
        with content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        size = f"{path.stat().st_size} bytes"
        raise invalid(
            f"the file is damaged: {error}", "an undamaged file", size
        ) from error


def _cast(array: AnyArray, spec: TensorSpec) -> AnyArray:
    """Return an array in an input's type, if that can hold its values."""
    dtype = np.dtype(spec.dtype)
    # Values beyond the type become infinite or wrap around, which the checks below refuse.
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if np.issubdtype(dtype, np.floating):
        if not np.isfinite(cast).all():
            raise invalid(
                f"the samples of input {spec.name!r} have NaN or infinity",
                f"finite {spec.dtype}",
                "others",
            )
    elif not (cast == array).all():
        detail = f"the samples of input {spec.name!r} have values that it cannot hold"
        raise invalid(detail, spec.dtype, f"{array.min()} to {array.max()}")
    return cast


def _expected_arrays(specs: Specs, shapes: Shapes) -> str:
    """Return the arrays that a file for the model has, in words."""
    parts = []
    batches = image_inputs(specs, shapes)
    for spec in specs:
        many = spec.name in batches
        axes = spec.axes(shapes[spec.name])
        shape = _format(axes, many=many)
        part = f"{spec.name} ({spec.dtype} {shape})"
        if not many:
            part = f"{part}, optional"
        parts.append(part)
    text = ", ".join(parts)
    return text[:_LONGEST_EXPECTED]


def _format(shape: tuple[int, ...], *, many: bool) -> str:
    """Return a shape in words; with `many`, its first axis is free."""
    shown = (None, *shape[1:]) if many else shape
    return format_shape(shown) or "()"

"""Real samples from a file of somebody else's, held to what the model takes before calibration sees them."""

import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convpress.gate.samples import LARGEST_BYTES, Header, headers, invalid
from convpress.refusal import Refusal
from convpress.shapes import format_shape
from worker.engine.calibration.inputs.model_inputs import Arrays, image_inputs
from worker.engine.model import TensorSpec


def read_samples(
    path: Path, specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> Arrays:
    """Read samples by input: of images as many as there are, of every other input one run's, or none at all.

    Raises:
        Refusal: `samples_invalid` for what no file of arrays is, for names, shapes and types that are not the model's,
            for fewer samples than one run takes, and for numbers that are not finite or that the input cannot hold.
    """
    by_name = {spec.name: spec for spec in specs}
    found = headers(path)
    if list(found) == [""]:
        if len(specs) != 1:
            raise invalid(
                "the file has one array, and the model several inputs",
                _wanted(specs, shapes),
                "one array",
            )
        found = {specs[0].name: found[""]}
    if unknown := sorted(found.keys() - by_name.keys()):
        raise invalid(
            f"the model has no input {unknown[0][:80]!r}",
            _wanted(specs, shapes),
            ", ".join(unknown),
        )
    counts = set()
    batches = image_inputs(specs, shapes)
    for spec in specs:
        images = batches.get(spec.name)
        if spec.name in found:
            _check_header(
                found[spec.name], spec, spec.axes(shapes[spec.name]), many=images is not None
            )
        elif images is not None:
            raise invalid(
                f"there are no samples of input {spec.name!r}",
                _wanted(specs, shapes),
                ", ".join(found),
            )
        if images is not None:
            counts.add(found[spec.name].shape[0])
    if len(counts) > 1:
        raise invalid(
            "the inputs have different numbers of samples",
            "one number",
            ", ".join(map(str, sorted(counts))),
        )
    total = sum(
        np.dtype(by_name[name].dtype).itemsize * math.prod(header.shape)
        for name, header in found.items()
    )
    if total > LARGEST_BYTES:
        raise invalid(
            "in the model's types the samples take too much",
            f"at most {LARGEST_BYTES} bytes",
            f"{total}",
        )
    arrays = _load(path)
    if "" in arrays:
        arrays = {specs[0].name: arrays[""]}
    return {name: _cast(array, by_name[name]) for name, array in arrays.items()}


def _check_header(header: Header, spec: TensorSpec, shape: tuple[int, ...], *, many: bool) -> None:
    given = header.shape
    fits = len(given) == len(shape) and (given[1:] == shape[1:] if many else given == shape)
    expected = _shape(shape, many=many)
    if not fits:
        raise invalid(
            f"the samples of input {spec.name!r} have another shape",
            expected,
            format_shape(given) or "()",
        )
    if many and given[0] < shape[0]:
        raise invalid(
            f"there are too few samples of input {spec.name!r}",
            f"at least {shape[0]}",
            str(given[0]),
        )
    if header.dtype[1] == "f" and not np.issubdtype(np.dtype(spec.dtype), np.floating):
        raise invalid(f"input {spec.name!r} takes {spec.dtype}", "whole numbers", header.dtype)


def _load(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read all arrays; a file of one gives it without a name. Whoever calls has looked at the headers."""
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return {"": opened}
        with opened:
            return {name: opened[name] for name in opened.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, Refusal):
            raise
        raise invalid(
            f"the file is damaged: {error}", "an undamaged file", f"{path.stat().st_size} bytes"
        ) from error


def _cast(array: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """Return an array in an input's type, if that can hold its values."""
    wanted = np.dtype(spec.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
    if np.issubdtype(wanted, np.floating):
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


def _wanted(specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name the arrays that a file for the model has."""
    parts = []
    batches = image_inputs(specs, shapes)
    for spec in specs:
        shape = spec.axes(shapes[spec.name])
        many = spec.name in batches
        parts.append(
            f"{spec.name} ({spec.dtype} {_shape(shape, many=many)})"
            + ("" if many else " if at all")
        )
    return ", ".join(parts)[:300]


def _shape(shape: tuple[int, ...], *, many: bool) -> str:
    return format_shape((None, *shape[1:]) if many else shape) or "()"

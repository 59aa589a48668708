"""The input shape that the exporter of a TorchScript archive noted beside the network."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convpress.gate.zip_directory import BoundedReads, read_directory
from convpress.shapes import format_shape

# Ultralytics' exporter notes the image size here.
_NOTES = "extra/config.txt"
_LARGEST_NOTES = 64 * 1024
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_COLOURS = 3
_LONGEST_SIDE = 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,  # an encrypted member, or JSON that nests too deep
)


def suggested_shape(path: Path) -> str | None:
    """Return the shape that the archive at `path` suggests for its only input.

    None where it suggests none. Nothing but a small text is read, and nobody has checked it: the
    shape is a proposal to a person.

    Raises:
        Refusal: `model_truncated` or `model_over_limit`, as `read_directory`.
    """
    infos, _ = read_directory(path)
    notes = [info for info in infos if info.filename.partition("/")[2] == _NOTES]
    if not notes or notes[0].compress_type not in _METHODS:
        return None
    try:
        with (
            BoundedReads(path) as file,
            zipfile.ZipFile(file) as archive,
            archive.open(notes[0]) as member,
        ):
            text = member.read(_LARGEST_NOTES + 1)
        members = json.loads(text) if len(text) <= _LARGEST_NOTES else None
    except _UNREADABLE:
        return None
    sizes = _sizes(members) if isinstance(members, dict) else None
    return None if sizes is None else format_shape(sizes)


def _sizes(notes: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the sizes that the notes of Ultralytics' exporter give."""
    # YOLOv5 notes the whole shape, its successors the sides of the image.
    shape = notes.get("shape")
    if shape is None:
        sides = notes.get("imgsz")
        if isinstance(sides, int):
            sides = [sides, sides]
        shape = [notes.get("batch", 1), notes.get("channels", _COLOURS)]
        shape += sides if isinstance(sides, list) else [None]
    is_shape = isinstance(shape, list) and len(shape) == 4
    if not is_shape or not all(_is_size(size) for size in shape):
        return None
    return tuple(shape)


def _is_size(size: object) -> bool:
    return type(size) is int and 0 < size <= _LONGEST_SIDE

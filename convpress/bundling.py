"""Bundle an ONNX model with the files of its weights beside it, as exporters write them."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from convpress.gate.bundle import kind_of
from convpress.gate.mapped import mapped
from convpress.gate.protobuf import DELIMITED, Buffer, MalformedMessage, fields

# Field numbers of onnx.proto: the messages that lead to the tensors of a model.
_GRAPH = {1: "node", 5: "tensor", 15: "sparse tensor"}
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": _GRAPH,
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2
_DEEPEST = 64


@contextmanager
def bundled(model: Path) -> Iterator[Path]:
    """Provide a model with its weights: itself, or a zip archive of it and the files beside it.

    Only files in the model's own folder are taken. Without all of them the model is provided as it
    is, and refused later with the name of a missing file.
    """
    names = weight_files(model)
    if not names:
        yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{model.stem}.zip"
        # Weights hardly shrink, and the engine reads stored members where they are.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            packed.write(model, model.name)
            for name in names:
                packed.write(model.parent / name, name)
        yield archive


def weight_files(model: Path) -> list[str]:
    """Return the names of the files beside a model that its weights are in.

    None are returned where the file is no plain ONNX model, or where one of them is missing.
    """
    if kind_of(model) is not None or not model.stat().st_size:
        return []
    with mapped(model) as view:
        try:
            names = list(dict.fromkeys(_locations(view, 0, len(view), "model", 0)))
        except (MalformedMessage, UnicodeDecodeError):
            return []
    folder = model.resolve().parent
    return names if all(_lies_beside(model, name, folder) for name in names) else []


def _lies_beside(model: Path, name: str, folder: Path) -> bool:
    """Return whether a name is that of a file in the model's folder.

    A link is followed only where the model is one too, and both lead to one folder: a model must
    not pick other files of this machine.
    """
    if not name or "\0" in name or Path(name).name != name:
        return False
    path = model.parent / name
    return path.is_file() and path.resolve().parent == folder


def _locations(
    buffer: Buffer, start: int, end: int, message: str, depth: int
) -> Iterator[str]:
    """Yield the locations of external data in a message."""
    children = _MESSAGES[message]
    for field in fields(buffer, start, end):
        child = children.get(field.number)
        if child is None or field.wire_type != DELIMITED or depth > _DEEPEST:
            continue
        if child == "entry":
            yield from _location(buffer, field.value, field.end)
        else:
            yield from _locations(buffer, field.value, field.end, child, depth + 1)


def _location(buffer: Buffer, start: int, end: int) -> Iterator[str]:
    """Yield the value of an entry of external data, if it is the location."""
    texts = {
        field.number: bytes(buffer[field.value : field.end])
        for field in fields(buffer, start, end)
        if field.wire_type == DELIMITED
    }
    if texts.get(_KEY) == b"location":
        yield texts.get(_VALUE, b"").decode()

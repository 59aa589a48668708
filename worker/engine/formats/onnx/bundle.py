"""Bundles of an ONNX model and the files with its weights: a compressed one made readable, and an edited one written.

An edited bundle is of the kind that it came as. All weights of the model lie in one file; what else was in the archive
is there again.
"""

import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import IO

from onnx import ModelProto, TensorProto

from convpress.formats import FIELD
from convpress.gate.bundle import Bundle, Kind, Member, read
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx import file
from worker.engine.formats.onnx.file import (
    LIFTED_BYTES,
    Extent,
    chunks,
    extent_of,
    is_external,
    refer,
)
from worker.engine.formats.onnx.graph import main_tensors, nested_tensors

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_ALIGNMENT = 64
_COPIED_AT_ONCE = 1 << 20

_File = tuple[str, int, Iterable[bytes]]
"""A name, a size and the content."""


@contextmanager
def stored(path: Path) -> Iterator[Path]:
    """Give a file with all that is in the model or bundle at `path`, uncompressed: itself where that is so already.

    Raises:
        Refusal: `model_invalid` where a file in the archive is not what its directory says.
    """
    archive = read(path)
    if archive is None or archive.is_stored:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        try:
            with zipfile.ZipFile(path) as packed, zipfile.ZipFile(target, "w") as plain:
                for info in packed.infolist():
                    if not info.is_dir():
                        with packed.open(info) as source:
                            _store(plain, info.filename, _read(source))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise Refusal(
                Code.MODEL_INVALID, f"the bundle is damaged: {error}", field=FIELD
            ) from error
        yield target


def write(model: ModelProto, archive: Bundle, source: Path, target: Path) -> None:
    """Write a skeleton that was read from the bundle at `source` as a bundle, with the weights copied from there.

    Raises:
        ValueError: `target` is `source`.
    """
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"a bundle cannot be written over the file that holds its weights: {target}"
        )
    others, data_name = _others(archive, source)
    skeleton = ModelProto()
    skeleton.CopyFrom(model)
    pieces: list[Iterable[bytes]] = []
    size = 0
    for tensor, reference in zip(_tensors(model), _tensors(skeleton), strict=True):
        length = extent_of(tensor).length if is_external(tensor) else len(tensor.raw_data)
        if not is_external(tensor) and length < LIFTED_BYTES:
            continue
        padding = -size % _ALIGNMENT
        reference.ClearField("raw_data")
        refer(reference, data_name.rpartition("/")[2], Extent(size + padding, length))
        pieces += [[bytes(padding)], _elements(tensor, source)]
        size += padding + length
    serialised = skeleton.SerializeToString()
    files: list[_File] = [(archive.model.name, len(serialised), [serialised])]
    if pieces:
        files.append((data_name, size, chain.from_iterable(pieces)))
    files += [
        (member.name, member.size, chunks([Extent(member.extent[0], member.size)], source))
        for member in others
    ]
    _pack(target, archive.kind, files)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from main_tensors(model)
    yield from nested_tensors(model)


def _elements(tensor: TensorProto, source: Path) -> Iterator[bytes]:
    """Yield the elements of a tensor, not before they are wanted."""
    if is_external(tensor):
        yield from chunks([extent_of(tensor)], source)
    else:
        yield tensor.raw_data


def _others(archive: Bundle, source: Path) -> tuple[list[Member], str]:
    """Return the files that are neither the model nor its weights, and how the file of weights is to be called."""
    used = file.files_of_weights(source)
    others = [
        member
        for name, member in archive.members.items()
        if name not in {*used, archive.model.name}
    ]
    folder = archive.model.name.rpartition("/")[0]
    beside = [
        name for name in archive.members if name in used and name.rpartition("/")[0] == folder
    ]
    return others, beside[0] if beside else f"{archive.model.name}.data"


def _pack(target: Path, kind: Kind, files: Iterable[_File]) -> None:
    """Write an archive whose bytes depend on nothing but what is put into it."""
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for name, _, content in files:
                _store(archive, name, content)
        return
    with tarfile.open(target, "w") as tar:
        for name, size, content in files:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, BufferedReader(_Reader(iter(content)), _COPIED_AT_ONCE))


class _Reader(RawIOBase):
    """A file that is read from pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the next piece goes."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _read(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(_COPIED_AT_ONCE):
        yield piece


def _store(archive: zipfile.ZipFile, name: str, content: Iterable[bytes]) -> None:
    with archive.open(zipfile.ZipInfo(name, _LONG_AGO), "w", force_zip64=True) as out:
        for piece in content:
            out.write(piece)

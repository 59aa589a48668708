"""Bundles of an ONNX model and its weight files: unpack a compressed one, write an edited one.

A written bundle is an archive of the same kind as the original. All weights of the model are in
one file. All other members of the original follow unchanged.
"""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

from onnx import ModelProto, TensorProto

from convpress.formats import FIELD
from convpress.gate.bundle import DAMAGED, Bundle, Kind, Member, plain_files, read
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import main_tensors, nested_tensors
from worker.engine.formats.onnx.storage.single_file import chunks
from worker.engine.formats.onnx.storage.skeleton import LARGE_TENSOR_BYTES, weight_files
from worker.engine.formats.onnx.storage.tensors import (
    extent_of,
    is_external,
    set_reference,
)
from worker.engine.formats.onnx.storage.wire import Extent

# The earliest date that zip can hold: the archive's bytes must not depend on the time.
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
# Runtimes map aligned weights without a copy.
_ALIGNMENT = 64
_CHUNK_BYTES = 1 << 20


class _File(NamedTuple):
    """A file to be packed; `size` is its length in bytes."""

    name: str
    size: int
    content: Iterable[bytes]


@contextmanager
def stored(path: Path) -> Iterator[Path]:
    """Provide the model or bundle at `path` uncompressed: the same path where it already is.

    Raises:
        Refusal: `model_invalid` where a member of the archive differs from the directory.
    """
    archive = read(path)
    if archive is None or archive.is_stored:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        try:
            _decompress(path, target)
        except DAMAGED as error:
            detail = f"the bundle is damaged: {error}"
            raise Refusal(Code.MODEL_INVALID, detail, field=FIELD) from error
        yield target


def _decompress(source: Path, target: Path) -> None:
    """Copy a zip archive with all its members uncompressed."""
    with zipfile.ZipFile(source) as packed, zipfile.ZipFile(target, "w") as plain:
        for name, info in plain_files(packed):
            with packed.open(info) as member:
                content = _read_chunks(member)
                _add_to_zip(plain, name, content)


def write(model: ModelProto, archive: Bundle, source: Path, target: Path) -> None:
    """Write a skeleton that was read from the bundle at `source` as a bundle at `target`.

    Raises:
        ValueError: `target` is `source`.
    """
    if target.exists() and target.samefile(source):
        raise ValueError(
            f"a bundle cannot be written over the file that holds its weights: {target}"
        )
    used = weight_files(source)
    data_name = _data_name(archive, used)
    skeleton, data = _split_data(model, source, data_name)
    serialised = skeleton.SerializeToString()
    size_of_skeleton = len(serialised)
    files = [_File(archive.model.name, size_of_skeleton, [serialised])]
    if data is not None:
        files.append(data)
    # Files that nothing refers to, such as a tokeniser, belong to the user.
    replaced = {*used, archive.model.name}
    named_members = archive.members.items()
    others = [member for name, member in named_members if name not in replaced]
    files += [_copied(member, source) for member in others]
    _pack(target, archive.kind, files)


def _data_name(archive: Bundle, used: set[str]) -> str:
    """Return the name of the file of weights: that of one which the original has, if any."""
    folder = archive.model.name.rpartition("/")[0]
    for name in archive.members:
        if name in used and name.rpartition("/")[0] == folder:
            return name
    return f"{archive.model.name}.data"


def _split_data(
    model: ModelProto, source: Path, data_name: str
) -> tuple[ModelProto, _File | None]:
    """Return a copy of a skeleton that refers to one file of weights, and that file.

    The file is None where the model has no weights to put there.
    """
    skeleton = ModelProto()
    skeleton.CopyFrom(model)
    # The model refers to files in its own folder.
    location = data_name.rpartition("/")[2]
    pieces: list[Iterable[bytes]] = []
    size = 0
    pairs = zip(_tensors(model), _tensors(skeleton), strict=True)
    for tensor, reference in pairs:
        length = _stored_bytes(tensor)
        if not is_external(tensor) and length < LARGE_TENSOR_BYTES:
            continue
        padding = -size % _ALIGNMENT
        reference.ClearField("raw_data")
        extent = Extent(size + padding, length)
        set_reference(reference, location, extent)
        pieces.append([bytes(padding)])
        elements = _elements(tensor, source)
        pieces.append(elements)
        size += padding + length
    if not pieces:
        return skeleton, None
    content = chain.from_iterable(pieces)
    return skeleton, _File(data_name, size, content)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors of a model, in a fixed order."""
    yield from main_tensors(model)
    yield from nested_tensors(model)


def _stored_bytes(tensor: TensorProto) -> int:
    """Return the bytes of a tensor's data, wherever they are."""
    if is_external(tensor):
        return extent_of(tensor).length
    return len(tensor.raw_data)


def _elements(tensor: TensorProto, source: Path) -> Iterator[bytes]:
    """Yield the bytes of a tensor; nothing is read before the first one is asked for."""
    if is_external(tensor):
        yield from chunks([extent_of(tensor)], source)
    else:
        yield tensor.raw_data


def _copied(member: Member, source: Path) -> _File:
    """Return a member of the original bundle as a file to be packed."""
    start, _ = member.extent
    return _File(member.name, member.size, chunks([Extent(start, member.size)], source))


def _pack(target: Path, kind: Kind, files: Iterable[_File]) -> None:
    """Write an archive whose bytes depend on its files alone."""
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for file in files:
                _add_to_zip(archive, file.name, file.content)
        return
    with tarfile.open(target, "w") as tar:
        for file in files:
            # Owner and date have fixed defaults.
            info = tarfile.TarInfo(file.name)
            info.size = file.size
            reader = BufferedReader(_Reader(iter(file.content)), _CHUNK_BYTES)
            tar.addfile(info, reader)


class _Reader(RawIOBase):
    """A file whose content comes from an iterator of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """It can be read, but not written or moved."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with as much as the current piece holds; 0 at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        chunk = self._rest[: len(buffer)]
        self._rest = self._rest[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _read_chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


def _add_to_zip(archive: zipfile.ZipFile, name: str, content: Iterable[bytes]) -> None:
    """Add an uncompressed member to a zip archive."""
    # The sizes are not known ahead, and may be above 4 GiB.
    with archive.open(zipfile.ZipInfo(name, _FIXED_DATE), "w", force_zip64=True) as out:
        for chunk in content:
            out.write(chunk)

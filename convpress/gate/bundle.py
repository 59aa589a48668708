"""Bundles: an ONNX model in one archive with the files that hold its weights; looked into, not unpacked.

A bundle is a zip or a tar archive with one `.onnx` file in it. The locations that this file names are relative to its
folder, and mean members of the archive and nothing else: no name in a bundle is ever looked up on a disk.
"""

import posixpath
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from convpress.refusal import Code, Refusal

Kind = Literal["zip", "tar"]

SUFFIX = ".onnx"
EXPECTED = "a zip or tar archive with one .onnx file and the files that it refers to"

_ZIP_MAGIC = b"PK\x03\x04"
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_END_MAGIC, _END_BYTES = b"PK\x05\x06", 22
_ZIP_HEADER = struct.Struct("<4s22xHH")
_MOST_MEMBERS = 20_000
_MOST_INFLATION = 200


@dataclass(frozen=True)
class Member:
    """A file in the archive, and where its bytes lie; `start` is None where they are compressed."""

    name: str
    size: int
    start: int | None

    @property
    def extent(self) -> tuple[int, int]:
        """Where its bytes begin and end in the archive, which stores it uncompressed."""
        if self.start is None:
            raise ValueError(f"{self.name} is compressed")
        return self.start, self.start + self.size


@dataclass(frozen=True)
class Bundle:
    """An archive's files by name, in their order, with the one that is the model."""

    kind: Kind
    model: Member
    members: Mapping[str, Member]

    @property
    def is_stored(self) -> bool:
        """Whether all files lie in the archive as they are, so that they can be read there."""
        return all(member.start is not None for member in self.members.values())

    def find(self, location: str) -> Member | None:
        """Return the file that the model calls `location`, if the bundle has it."""
        return self.members.get(
            posixpath.normpath(posixpath.join(posixpath.dirname(self.model.name), location))
        )


def kind_of(path: Path) -> Kind | None:
    """Return what kind of archive a file begins as, if any."""
    with path.open("rb") as file:
        head = file.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    if head.startswith(_ZIP_MAGIC):
        return "zip"
    return "tar" if head[_TAR_MAGIC_AT:] == _TAR_MAGIC else None


def read(path: Path) -> Bundle | None:
    """Look into the archive at `path`; None where it is none.

    Raises:
        Refusal: `model_truncated` where it cannot be read, `model_invalid` for names and kinds of members that no
            bundle has, `model_unrecognised` where it holds no ONNX model or several.
    """
    kind = kind_of(path)
    if kind is None:
        return None
    members: dict[str, Member] = {}
    try:
        for member in _zipped(path) if kind == "zip" else _tarred(path):
            if member.name in members:
                raise _invalid(f"the bundle has {member.name[:80]!r} twice")
            if len(members) == _MOST_MEMBERS:
                raise _invalid(f"the bundle has more than {_MOST_MEMBERS} files")
            members[member.name] = member
    except Refusal:
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        OSError,
        struct.error,
    ) as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the bundle cannot be read to its end ({error}); was the upload cut short?",
            field="model",
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a {kind} archive",
        ) from error
    models = [name for name in members if name.endswith(SUFFIX)]
    if len(models) != 1:
        raise Refusal(
            Code.MODEL_UNRECOGNISED,
            "a bundle holds one ONNX model: "
            + (f"this one has {len(models)}" if models else "this one has none"),
            field="model",
            expected=EXPECTED,
            got=f"a {kind} archive with "
            + (", ".join(sorted(models or members)[:3])[:200] or "no files"),
        )
    return Bundle(kind, members[models[0]], members)


def _zipped(path: Path) -> Iterator[Member]:
    end = path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        file.seek(end - _END_BYTES - len(archive.comment))
        if file.read(len(_END_MAGIC)) != _END_MAGIC:
            raise _invalid("the bundle goes on behind its directory")
        for info in archive.infolist():
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _invalid(f"{info.filename[:80]!r} in the bundle is no plain file")
            if info.flag_bits & 1:
                raise _invalid(f"{info.filename[:80]!r} in the bundle is encrypted")
            file.seek(info.header_offset)
            magic, name, extra = _ZIP_HEADER.unpack(file.read(_ZIP_HEADER.size))
            start = info.header_offset + _ZIP_HEADER.size + name + extra
            is_stored = info.compress_type == zipfile.ZIP_STORED
            has_two_sizes = is_stored and info.file_size != info.compress_size
            if magic != _ZIP_MAGIC or has_two_sizes or start + info.compress_size > end:
                raise zipfile.BadZipFile(
                    f"{info.filename[:80]!r} does not lie where the directory says"
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _invalid(
                    f"{info.filename[:80]!r} in the bundle is neither stored nor deflated"
                )
            if info.file_size > _MOST_INFLATION * max(info.compress_size, 1):
                raise _invalid(
                    f"{info.filename[:80]!r} in the bundle would grow to more than {_MOST_INFLATION} times its size: "
                    "store it uncompressed"
                )
            yield Member(_plain(info.filename), info.file_size, start if is_stored else None)


def _tarred(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise _invalid(f"{info.name[:80]!r} in the bundle is no plain file")
            if info.offset_data + info.size > path.stat().st_size:
                raise tarfile.ReadError(f"{info.name[:80]!r} ends beyond the archive")
            yield Member(_plain(info.name), info.size, info.offset_data)


def _plain(name: str) -> str:
    """Return a member's name as a plain relative path."""
    plain = posixpath.normpath(name)
    if (
        name.startswith("/")
        or "\\" in name
        or "\0" in name
        or plain == ".."
        or plain.startswith("../")
    ):
        raise _invalid(f"a file in the bundle is named {name[:80]!r}")
    return plain


def _invalid(detail: str) -> Refusal:
    return Refusal(Code.MODEL_INVALID, detail, field="model", expected=EXPECTED)

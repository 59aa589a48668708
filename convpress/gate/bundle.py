"""Bundles: an ONNX model in one archive with the files of its weights, read without unpacking.

A bundle is a zip or a tar archive with one `.onnx` file. The locations in this file are relative to
its folder, and name members of the archive alone: no name in a bundle is ever looked up on a disk.
"""

import posixpath
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Literal

from convpress.gate import tar_headers
from convpress.gate.refusals import FIELD, over_limit
from convpress.gate.tar_headers import MalformedTar, TarTooLarge
from convpress.gate.zip_directory import ZIP_MAGIC, BoundedReads, DirectoryTooLarge
from convpress.refusal import Code, Refusal

Kind = Literal["zip", "tar"]

SUFFIX = ".onnx"
EXPECTED = "a zip or tar archive with one .onnx file and the files that it refers to"

_END_MAGIC = b"PK\x05\x06"
_END_BYTES = 22
# The magic, and the lengths of the name and of the extra field.
_ZIP_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
_MOST_MEMBERS = 20_000
# Weights hardly shrink: a member that grows by more is an archive bomb.
_MOST_INFLATION = 200
# What file managers add to the files of a folder: copies of attributes, views and thumbnails. A
# name may have any character; one that ended a match would be tried from every folder in the name.
_LITTER = re.compile(
    r"(.*/)?(__MACOSX/.*|\._[^/]*|\.DS_Store|[Tt]humbs\.db|[Dd]esktop\.ini)", re.DOTALL
)

_UNREADABLE = (
    MalformedTar,
    zipfile.BadZipFile,
    NotImplementedError,
    ValueError,
    OSError,
    struct.error,
)
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    ValueError,
)
"""What zipfile raises for a member whose bytes cannot be inflated."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive; `start` is the offset of its bytes, None where it is compressed."""

    name: str
    size: int
    start: int | None

    @property
    def extent(self) -> tuple[int, int]:
        """The offsets of its first byte and of its end.

        Raises:
            ValueError: it is compressed.
        """
        if self.start is None:
            raise ValueError(f"{self.name} is compressed")
        return self.start, self.start + self.size


@dataclass(frozen=True)
class Bundle:
    """An archive's files by name, in their order, and the one that is the model."""

    kind: Kind
    model: Member
    members: Mapping[str, Member]

    @property
    def is_stored(self) -> bool:
        """Whether no file is compressed, so that all can be read from the archive."""
        return all(member.start is not None for member in self.members.values())

    def find(self, location: str) -> Member | None:
        """Return the file at a location relative to the model's folder; None without one."""
        folder = posixpath.dirname(self.model.name)
        name = posixpath.normpath(posixpath.join(folder, location))
        return self.members.get(name)


def kind_of(path: Path) -> Kind | None:
    """Return the kind of archive that a file begins as; None for all other files."""
    with path.open("rb") as file:
        head = file.read(tar_headers.MAGIC_OFFSET + len(tar_headers.MAGIC))
    if head.startswith(ZIP_MAGIC):
        return "zip"
    if head[tar_headers.MAGIC_OFFSET :] == tar_headers.MAGIC:
        return "tar"
    return None


def read(path: Path) -> Bundle | None:
    """Return the bundle at `path`; None where the file is no archive.

    Raises:
        Refusal: `model_truncated` where the archive cannot be read, `model_invalid` for names and
            kinds of members that no bundle has, `model_over_limit` where it has too many or too
            long headers, `model_unrecognised` where it has no ONNX model or several.
    """
    kind = kind_of(path)
    if kind is None:
        return None
    try:
        members = _members(path, kind)
    except Refusal:
        # A Refusal is a ValueError too.
        raise
    except (DirectoryTooLarge, TarTooLarge) as error:
        raise over_limit(
            f"the bundle has too long headers: {error}",
            f"at most {_MOST_MEMBERS} files with short names",
            f"a {kind} archive of {path.stat().st_size} bytes",
        ) from error
    except _UNREADABLE as error:
        raise Refusal(
            Code.MODEL_TRUNCATED,
            f"the bundle cannot be read to its end ({error}); was the upload cut short?",
            field=FIELD,
            expected=EXPECTED,
            got=f"{path.stat().st_size} bytes that begin as a {kind} archive",
        ) from error
    models = [name for name in members if name.endswith(SUFFIX)]
    if len(models) != 1:
        shown = ", ".join(sorted(models or members)[:3])[:200]
        raise Refusal(
            Code.MODEL_UNRECOGNISED,
            f"the bundle has {len(models) or 'no'} ONNX models, and must have one",
            field=FIELD,
            expected=EXPECTED,
            got=f"a {kind} archive with {shown or 'no files'}",
        )
    return Bundle(kind, members[models[0]], members)


def plain_files(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the files of a zip archive that are part of a bundle, by their plain paths.

    Raises:
        Refusal: `model_invalid` for a name that is no plain relative path.
    """
    for info in archive.infolist():
        if not info.is_dir() and not _LITTER.fullmatch(info.filename):
            yield _plain_path(info.filename), info


def _members(path: Path, kind: Kind) -> dict[str, Member]:
    read_members = _zip_members if kind == "zip" else _tar_members
    members: dict[str, Member] = {}
    for member in read_members(path):
        if member.name in members:
            raise _invalid(f"the bundle has {_shown(member.name)} twice")
        if len(members) == _MOST_MEMBERS:
            raise _invalid(f"the bundle has more than {_MOST_MEMBERS} files")
        members[member.name] = member
    return members


def _zip_members(path: Path) -> Iterator[Member]:
    end = path.stat().st_size
    with (
        BoundedReads(path) as reads,
        zipfile.ZipFile(reads) as archive,
        path.open("rb") as file,
    ):
        # Bytes after the directory could be a second archive.
        file.seek(end - _END_BYTES - len(archive.comment))
        if file.read(len(_END_MAGIC)) != _END_MAGIC:
            raise _invalid("the bundle has bytes after its directory")
        extents: list[tuple[int, int]] = []
        for name, info in plain_files(archive):
            member, member_end = _zip_member(name, info, file, end)
            extents.append((info.header_offset, member_end))
            yield member
        _require_apart(extents)


def _require_apart(extents: list[tuple[int, int]]) -> None:
    """Require members of which none has bytes of another: they would grow without bounds."""
    extents.sort()
    for (_, end), (start, _) in pairwise(extents):
        if start < end:
            raise _invalid(f"two files in the bundle overlap at byte {start}")


def _zip_member(
    name: str, info: zipfile.ZipInfo, file: IO[bytes], end: int
) -> tuple[Member, int]:
    """Return a member whose own header, in the archive of `end` bytes, fits the directory.

    The number is the offset after its bytes.
    """
    shown = _shown(info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _invalid(f"{shown} in the bundle is no plain file")
    if info.flag_bits & _ENCRYPTED:
        raise _invalid(f"{shown} in the bundle is encrypted")
    file.seek(info.header_offset)
    magic, name_length, extra_length = _ZIP_HEADER.unpack(file.read(_ZIP_HEADER.size))
    start = info.header_offset + _ZIP_HEADER.size + name_length + extra_length
    is_stored = info.compress_type == zipfile.ZIP_STORED
    has_two_sizes = is_stored and info.file_size != info.compress_size
    if magic != ZIP_MAGIC or has_two_sizes or start + info.compress_size > end:
        raise zipfile.BadZipFile(f"{shown} is not where the directory says")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _invalid(f"{shown} in the bundle is neither stored nor deflated")
    if info.file_size > _MOST_INFLATION * max(info.compress_size, 1):
        raise _invalid(
            f"{shown} in the bundle would grow to more than {_MOST_INFLATION} times its size: "
            "store it uncompressed"
        )
    member = Member(name, info.file_size, start if is_stored else None)
    return member, start + info.compress_size


def _tar_members(path: Path) -> Iterator[Member]:
    with path.open("rb") as file:
        for member in tar_headers.members(file):
            if member.is_folder or _LITTER.fullmatch(member.name):
                continue
            if not member.is_file:
                raise _invalid(f"{_shown(member.name)} in the bundle is no plain file")
            yield Member(_plain_path(member.name), member.size, member.start)


def _plain_path(name: str) -> str:
    """Return a member's name as a plain relative path.

    Raises:
        Refusal: `model_invalid` for a name that leads out of the archive, or is no plain path.
    """
    plain = posixpath.normpath(name)
    leads_out = name.startswith("/") or plain in (".", "..") or plain.startswith("../")
    if leads_out or "\\" in name or "\0" in name:
        raise _invalid(f"a file in the bundle has the name {_shown(name)}")
    return plain


def _shown(name: str) -> str:
    return repr(name[:80])


def _invalid(detail: str) -> Refusal:
    return Refusal(Code.MODEL_INVALID, detail, field=FIELD, expected=EXPECTED)

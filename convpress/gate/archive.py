"""Zip archives as `torch.jit.save` writes them, read strictly: a directory that agrees with every member's own header.

Readers differ in which half of a contradictory archive they believe, so there may be no contradiction: one directory at
the very end, members that follow each other without gap or overlap from the first byte on, names that name no place
outside, contents of the size that is stated.

Source: PKWARE's APPNOTE.TXT, 4.3 and 4.5.
"""

import re
import struct
import zipfile
import zlib
from dataclasses import dataclass

from convpress.limits import Limits
from convpress.refusal import Code, Refusal

_STORED, _DEFLATED = 0, 8
_HEADER, _HEADER_BYTES = b"PK\x03\x04", 30
_END, _END_BYTES = b"PK\x05\x06", 22
_WIDE_END, _WIDE_BYTES = b"PK\x06\x06", 56 + 20  # the zip64 record and its locator
_DESCRIPTOR = b"PK\x07\x08"
_ENCRYPTED, _HAS_DESCRIPTOR, _UTF8 = 1, 8, 0x800
_DEFLATE_OVERHEAD = 1024
_NAME = re.compile(r"[A-Za-z0-9_.+=@,() -]+(/[A-Za-z0-9_.+=@,() -]+)+")
_LINK = 0o120000


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name below the archive's one folder, and where its bytes lie."""

    name: str
    start: int
    end: int
    size: int
    crc: int
    deflated: bool


def members(
    content: memoryview, directory: list[zipfile.ZipInfo], directory_start: int, limits: Limits
) -> list[Member]:
    """Return the members of the archive in `content`, whose directory begins at `directory_start`.

    Raises:
        Refusal: `model_invalid` for contradictions, `model_unsafe` for names, kinds and methods that no archive of a
            model has, `model_over_limit` for too many members or too much inside.
    """
    _check_end(content, len(directory), directory_start)
    if len(directory) > limits.members:
        raise over_limit(
            f"the archive has {len(directory)} members", f"at most {limits.members} members"
        )
    roots = {info.orig_filename.partition("/")[0] for info in directory}
    if len(roots) != 1:
        raise unsafe(f"the archive's members lie in {len(roots)} folders, not one", "one folder")
    found = []
    position = 0
    for info in sorted(directory, key=lambda info: info.header_offset):
        if info.header_offset != position:
            raise invalid(
                f"member {_shown(info)} begins at byte {info.header_offset}, the one before ends at {position}"
            )
        member, position = _member(content, info, directory_start, limits)
        found.append(member)
    if position != directory_start:
        raise invalid(
            f"the directory begins at byte {directory_start}, the last member ends at {position}"
        )
    names = {member.name for member in found}
    if len(names) != len(found):
        raise unsafe("the archive has a member twice", "members of different names")
    inflated = sum(member.size for member in found if member.deflated)
    if inflated > limits.inflated_bytes:
        raise over_limit(
            f"the archive's compressed members would grow to {inflated} bytes",
            f"at most {limits.inflated_bytes} bytes",
        )
    return found


def read(content: memoryview, member: Member) -> bytes:
    """Return a member's bytes, inflated no further than it states.

    Raises:
        Refusal: `model_invalid` where size or checksum are not what is stated.
    """
    raw = bytes(content[member.start : member.end])
    if member.deflated:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            out = inflater.decompress(raw, member.size + 1)
        except zlib.error as error:
            raise invalid(f"member {member.name} cannot be inflated: {error}") from error
        if len(out) != member.size or not inflater.eof or inflater.unused_data:
            raise invalid(
                f"member {member.name} does not inflate to the {member.size} bytes that are stated"
            )
    else:
        out = raw
    if zlib.crc32(out) != member.crc:
        raise invalid(f"member {member.name} has another checksum than is stated")
    return out


def _check_end(content: memoryview, entries: int, start: int) -> None:
    """Check that the records behind the directory end the file, and state what is there."""
    end = len(content) - _END_BYTES
    signature, _, _, here, total, size, offset, comment = struct.unpack_from(
        "<4sHHHHIIH", content, max(end, 0)
    )
    if signature != _END or comment:
        raise unsafe(
            "the archive goes on behind its directory", "an archive that ends with its directory"
        )
    said = [(here, entries, 0xFFFF), (total, entries, 0xFFFF)]
    wide = end - _WIDE_BYTES
    if wide >= start and bytes(content[wide : wide + 4]) == _WIDE_END:
        end = wide
        wide_here, wide_total, wide_size, wide_offset = struct.unpack_from(
            "<QQQQ", content, wide + 24
        )
        said += [(wide_here, entries, entries), (wide_total, entries, entries)]
        said += [(wide_size, end - start, end - start), (wide_offset, start, start)]
    said += [(size, end - start, 0xFFFFFFFF), (offset, start, 0xFFFFFFFF)]
    if any(value not in (true, saturated) for value, true, saturated in said):
        raise invalid(
            "the records at the archive's end do not state where its directory is and what it holds"
        )


def _member(
    content: memoryview, info: zipfile.ZipInfo, limit: int, limits: Limits
) -> tuple[Member, int]:
    """Check one member against its own header; return it and where what belongs to it ends."""
    name = info.orig_filename
    segments = name.split("/")
    if not _NAME.fullmatch(name) or len(name) > 500 or {"", ".", ".."} & set(segments):
        raise unsafe(
            f"a member of the archive is named {_shown(info)}",
            "a plain path below the archive's folder",
        )
    if (info.external_attr >> 16) & 0o170000 == _LINK or info.external_attr & 0x10:
        raise unsafe(f"member {_shown(info)} is a link or a folder", "plain files")
    if info.flag_bits & ~(_HAS_DESCRIPTOR | _UTF8):
        raise unsafe(
            f"member {_shown(info)} is encrypted or otherwise unusual",
            "members that are plainly stored",
        )
    if info.compress_type not in (_STORED, _DEFLATED):
        raise unsafe(
            f"member {_shown(info)} is compressed by method {info.compress_type}",
            "stored or deflated members",
        )
    offset = info.header_offset
    if offset + _HEADER_BYTES > limit or bytes(content[offset : offset + 4]) != _HEADER:
        raise invalid(f"member {_shown(info)} has no header at byte {offset}")
    flags, method, _, _, crc, packed, size, name_length, extra_length = struct.unpack_from(
        "<HHHHIIIHH", content, offset + 6
    )
    start = offset + _HEADER_BYTES + name_length + extra_length
    end = start + info.compress_size
    own = bytes(content[offset + _HEADER_BYTES : offset + _HEADER_BYTES + name_length])
    if (
        own != name.encode()
        or method != info.compress_type
        or flags != info.flag_bits
        or end > limit
    ):
        raise invalid(
            f"member {_shown(info)} is another one by its own header than by the directory"
        )
    if not flags & _HAS_DESCRIPTOR:
        wide = 0xFFFFFFFF  # the sizes are in the zip64 extra field, which a reader takes from the directory
        if (
            crc != info.CRC
            or packed not in (info.compress_size, wide)
            or size not in (info.file_size, wide)
        ):
            raise invalid(
                f"member {_shown(info)} has other sizes by its own header than by the directory"
            )
    deflated = info.compress_type == _DEFLATED
    if not deflated and info.file_size != info.compress_size:
        raise invalid(
            f"stored member {_shown(info)} has {info.compress_size} bytes and claims {info.file_size}"
        )
    if deflated and info.compress_size > info.file_size + _DEFLATE_OVERHEAD:
        raise unsafe(
            f"member {_shown(info)} is larger compressed than not",
            "members that compression makes smaller",
        )
    if deflated and info.file_size > limits.inflation * max(info.compress_size, 1):
        raise over_limit(
            f"member {_shown(info)} would grow from {info.compress_size} to {info.file_size} bytes",
            f"at most {limits.inflation} times its size",
        )
    member = Member(name.partition("/")[2], start, end, info.file_size, info.CRC, deflated)
    return member, _behind(content, info, end) if flags & _HAS_DESCRIPTOR else end


def _behind(content: memoryview, info: zipfile.ZipInfo, end: int) -> int:
    """Return where a member's data descriptor ends, whose sizes are of four or of eight bytes."""
    for form in ("<4sIQQ", "<4sIII"):
        length = struct.calcsize(form)
        said = bytes(content[end : end + length])
        if said == struct.pack(form, _DESCRIPTOR, info.CRC, *_sizes(info, form)):
            return end + length
    raise invalid(f"member {_shown(info)} is not followed by the sizes that the directory states")


def _sizes(info: zipfile.ZipInfo, form: str) -> tuple[int, int]:
    mask = 0xFFFFFFFF if form.endswith("II") else 0xFFFFFFFFFFFFFFFF
    return info.compress_size & mask, info.file_size & mask


def _shown(info: zipfile.ZipInfo) -> str:
    return repr(info.orig_filename[:80])


def invalid(detail: str) -> Refusal:
    """Return the refusal of a damaged or contradictory model."""
    return Refusal(Code.MODEL_INVALID, f"the model's file is damaged: {detail}", field="model")


def unsafe(detail: str, expected: str) -> Refusal:
    """Return the refusal of what no exported network needs."""
    return Refusal(Code.MODEL_UNSAFE, detail, field="model", expected=expected)


def over_limit(detail: str, expected: str) -> Refusal:
    """Return the refusal of what is larger or deeper than this service takes."""
    return Refusal(Code.MODEL_OVER_LIMIT, detail, field="model", expected=expected)

"""Zip archives as `torch.jit.save` writes them, read strictly.

Readers differ in which half of a contradictory archive they believe. So no contradiction is
accepted: there is one directory at the very end, members follow each other without gaps or overlaps
from the first byte on, no name leads outside, contents have the size that is stated, and every
member's own header agrees with the directory.

Source: PKWARE's APPNOTE.TXT, 4.3 and 4.5.
"""

import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from convpress.gate.mapped import EVERY, forget
from convpress.gate.refusals import damaged, over_limit, unsafe
from convpress.limits import Limits

_STORED = 0
_DEFLATED = 8
_HEADER = b"PK\x03\x04"
_HEADER_BYTES = 30
_END = b"PK\x05\x06"
_END_BYTES = 22
_ZIP64_END = b"PK\x06\x06"
# The zip64 record and its locator.
_ZIP64_END_BYTES = 56 + 20
_DESCRIPTOR = b"PK\x07\x08"
_HAS_DESCRIPTOR = 8
_UTF8 = 0x800
# A number that does not fit is written as all ones, and follows in a zip64 record.
_NOT_16_BITS = 0xFFFF
_NOT_32_BITS = 0xFFFFFFFF
# Deflate adds little to data that it cannot compress.
_DEFLATE_OVERHEAD = 1024
# torch names the archive's folder after its file, in any language.
_NAME = re.compile(r"[^/\\]+(/[^/\\]+)+")
_LONGEST_NAME = 500
_FILE_TYPE = 0o170000
_LINK = 0o120000
_DOS_FOLDER = 0x10


@dataclass(frozen=True)
class Member:
    """A file of the archive: its name below the archive's one folder, and the place of its bytes.

    Bytes [start, end) of the archive are its content, compressed where `deflated` is set. `size` is
    the size of the content itself, and `crc` its checksum.
    """

    name: str
    start: int
    end: int
    size: int
    crc: int
    deflated: bool


class _Header(NamedTuple):
    """A member's own header, without its magic and its dates."""

    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    name: bytes
    end: int


def members(
    content: memoryview,
    directory: list[zipfile.ZipInfo],
    directory_start: int,
    limits: Limits,
) -> list[Member]:
    """Return the members of the archive in `content`, whose directory is at `directory_start`.

    Raises:
        Refusal: `model_invalid` for contradictions, `model_unsafe` for names, kinds and methods
            that no archive of a model has, `model_over_limit` for too many members or too much
            content.
    """
    _require_end(content, len(directory), directory_start)
    if len(directory) > limits.members:
        raise over_limit(
            f"the archive has {len(directory)} members",
            f"at most {limits.members} members",
        )
    # torch.jit.save puts everything into one folder, named after the file.
    folders = {info.orig_filename.partition("/")[0] for info in directory}
    if len(folders) != 1:
        raise unsafe(
            f"the archive's members are in {len(folders)} folders instead of one",
            "one folder",
        )
    accepted: list[Member] = []
    position = 0
    # In the order of their bytes, whatever the order of the directory is.
    for info in sorted(directory, key=lambda info: info.header_offset):
        if info.header_offset != position:
            raise damaged(
                f"member {_shown(info)} begins at byte {info.header_offset}, the one before ends "
                f"at {position}"
            )
        if len(accepted) % EVERY == 0:
            forget(content)
        member, position = _member(content, info, directory_start, limits)
        accepted.append(member)
    if position != directory_start:
        raise damaged(
            f"the directory begins at byte {directory_start}, the last member ends at {position}"
        )
    # Readers differ in which of two they take.
    names = {member.name for member in accepted}
    if len(names) != len(accepted):
        raise unsafe("the archive has a member twice", "members with different names")
    inflated = sum(member.size for member in accepted if member.deflated)
    if inflated > limits.inflated_bytes:
        raise over_limit(
            f"the archive's compressed members would grow to {inflated} bytes",
            f"at most {limits.inflated_bytes} bytes",
        )
    return accepted


def read(content: memoryview, member: Member) -> bytes:
    """Return a member's content, inflated no further than the size that it states.

    Raises:
        Refusal: `model_invalid` where size or checksum differ from those that it states.
    """
    data = bytes(content[member.start : member.end])
    if member.deflated:
        data = _inflated(data, member)
    if zlib.crc32(data) != member.crc:
        raise damaged(f"member {member.name} has another checksum than it states")
    return data


def _inflated(data: bytes, member: Member) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than stated shows that there is more.
        inflated = inflater.decompress(data, member.size + 1)
    except zlib.error as error:
        raise damaged(f"member {member.name} cannot be inflated: {error}") from error
    is_whole = inflater.eof and not inflater.unused_data
    if len(inflated) != member.size or not is_whole:
        raise damaged(
            f"member {member.name} does not inflate to the {member.size} bytes that it states"
        )
    return inflated


def _require_end(content: memoryview, entries: int, start: int) -> None:
    """Require records at the file's end that state the directory's place and number of entries.

    `start` is the offset of the directory, which has `entries` entries.
    """
    end = len(content) - _END_BYTES
    record = struct.unpack_from("<4sHHHHIIH", content, max(end, 0))
    signature, _, _, disk_entries, all_entries, size, offset, comment = record
    if signature != _END or comment:
        raise unsafe(
            "the archive has bytes after its directory",
            "an archive that ends with its directory",
        )
    agrees = True
    zip64 = end - _ZIP64_END_BYTES
    if zip64 >= start and bytes(content[zip64 : zip64 + 4]) == _ZIP64_END:
        end = zip64
        numbers = struct.unpack_from("<QQQQ", content, zip64 + 24)
        agrees = numbers == (entries, entries, end - start, start)
    agrees = agrees and disk_entries in (entries, _NOT_16_BITS)
    agrees = agrees and all_entries in (entries, _NOT_16_BITS)
    agrees = agrees and size in (end - start, _NOT_32_BITS)
    agrees = agrees and offset in (start, _NOT_32_BITS)
    if not agrees:
        raise damaged("the records at the archive's end contradict its directory")


def _member(
    content: memoryview, info: zipfile.ZipInfo, limit: int, limits: Limits
) -> tuple[Member, int]:
    """Return a member of the directory, and the offset after all that belongs to it.

    `limit` is the offset of the directory, where all members must have ended.
    """
    _require_usual(info)
    header = _read_header(content, info, limit)
    end = header.end + info.compress_size
    _require_agreement(header, info)
    if end > limit:
        raise damaged(f"member {_shown(info)} overlaps the directory")
    _require_bounded(info, limits)
    name = info.orig_filename.partition("/")[2]
    deflated = info.compress_type == _DEFLATED
    member = Member(name, header.end, end, info.file_size, info.CRC, deflated)
    if header.flags & _HAS_DESCRIPTOR:
        return member, _descriptor_end(content, info, end)
    return member, end


def _require_usual(info: zipfile.ZipInfo) -> None:
    """Require a plain name, and a plain file that is stored or deflated."""
    name = info.orig_filename
    shown = _shown(info)
    is_plain = (
        _NAME.fullmatch(name) and name.isprintable() and len(name) <= _LONGEST_NAME
    )
    if not is_plain or {"", ".", ".."} & set(name.split("/")):
        raise unsafe(
            f"a member of the archive has the name {shown}",
            "a plain path below the archive's folder",
        )
    is_link = (info.external_attr >> 16) & _FILE_TYPE == _LINK
    if is_link or info.external_attr & _DOS_FOLDER:
        raise unsafe(f"member {shown} is a link or a folder", "plain files")
    if info.flag_bits & ~(_HAS_DESCRIPTOR | _UTF8):
        raise unsafe(
            f"member {shown} is encrypted or otherwise unusual",
            "members that are plainly stored",
        )
    if info.compress_type not in (_STORED, _DEFLATED):
        raise unsafe(
            f"member {shown} is compressed by method {info.compress_type}",
            "stored or deflated members",
        )


def _read_header(content: memoryview, info: zipfile.ZipInfo, limit: int) -> _Header:
    offset = info.header_offset
    start = offset + _HEADER_BYTES
    if start > limit or bytes(content[offset : offset + 4]) != _HEADER:
        raise damaged(f"member {_shown(info)} has no header at byte {offset}")
    numbers = struct.unpack_from("<HHHHIIIHH", content, offset + 6)
    flags, method, _, _, crc, compressed_size, size, name_length, extra_length = numbers
    name = bytes(content[start : start + name_length])
    end = start + name_length + extra_length
    return _Header(flags, method, crc, compressed_size, size, name, end)


def _require_agreement(header: _Header, info: zipfile.ZipInfo) -> None:
    """Require that a member's own header says the same as the directory."""
    directory = (info.orig_filename.encode(), info.compress_type, info.flag_bits)
    if (header.name, header.method, header.flags) != directory:
        raise damaged(
            f"member {_shown(info)} has another name, method or flags in its own header than in "
            "the directory"
        )
    # With a descriptor the sizes follow the content, and the header may have zeros.
    if header.flags & _HAS_DESCRIPTOR:
        return
    # Readers take the sizes of the zip64 extra field from the directory.
    has_sizes = header.compressed_size in (info.compress_size, _NOT_32_BITS)
    has_sizes = has_sizes and header.size in (info.file_size, _NOT_32_BITS)
    if header.crc != info.CRC or not has_sizes:
        raise damaged(
            f"member {_shown(info)} has another size or checksum in its own header than in the "
            "directory"
        )


def _require_bounded(info: zipfile.ZipInfo, limits: Limits) -> None:
    """Require sizes that fit each other, and a member that does not grow beyond the limit."""
    shown = _shown(info)
    if info.compress_type == _STORED:
        if info.file_size != info.compress_size:
            raise damaged(
                f"stored member {shown} has {info.compress_size} bytes and states {info.file_size}"
            )
        return
    if info.compress_size > info.file_size + _DEFLATE_OVERHEAD:
        raise unsafe(
            f"member {shown} is larger compressed than not",
            "members that compression makes smaller",
        )
    if info.file_size > limits.inflation * max(info.compress_size, 1):
        raise over_limit(
            f"member {shown} would grow from {info.compress_size} to {info.file_size} bytes",
            f"at most {limits.inflation} times its size",
        )


def _descriptor_end(content: memoryview, info: zipfile.ZipInfo, end: int) -> int:
    """Return the offset after the data descriptor of a member whose content ends at `end`.

    Its sizes have eight bytes, or four.
    """
    wide = struct.pack(
        "<4sIQQ", _DESCRIPTOR, info.CRC, info.compress_size, info.file_size
    )
    narrow_sizes = (info.compress_size & _NOT_32_BITS, info.file_size & _NOT_32_BITS)
    narrow = struct.pack("<4sIII", _DESCRIPTOR, info.CRC, *narrow_sizes)
    for descriptor in (wide, narrow):
        descriptor_end = end + len(descriptor)
        if bytes(content[end:descriptor_end]) == descriptor:
            return descriptor_end
    raise damaged(
        f"member {_shown(info)} is not followed by the sizes that the directory states"
    )


def _shown(info: zipfile.ZipInfo) -> str:
    return repr(info.orig_filename[:80])

"""The members of a tar archive, from its headers alone, in bounded steps and memory.

`tarfile` reads an extension header whole, however long it is, follows a chain of them by recursion,
and takes quadratic time for some of them in releases that are in use (CVE-2024-6232). Nothing of an
upload reaches it: here every read, every header and every record is counted.

Source: POSIX.1-2024, pax, "pax Interchange Format" and "ustar Interchange Format"; GNU tar manual,
"Basic Tar Format".
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple

BLOCK_BYTES = 512
MAGIC = b"ustar"
MAGIC_OFFSET = 257

# In bytes: a pax header holds a path, some dates and the attributes of a file.
_LONGEST_EXTENSION = 16 * 1024
# Of all extensions together, in bytes and records: owners and dates are some five of a member.
_MOST_EXTENSIONS = 4 * 1024**2
_MOST_RECORDS = 100_000
# Members, folders and extensions together: a member has rarely more than one extension.
_MOST_HEADERS = 45_000

_FILE = b"0"
_FOLDER = b"5"
# A plain file of old archives, and one that an old system wanted in one piece.
_OTHER_FILES = (b"\0", b"7")
_GNU_NAME = b"L"
_GNU_LINK = b"K"
_PAX = (b"x", b"X")
_PAX_GLOBAL = b"g"
_EXTENSIONS = (_GNU_NAME, _GNU_LINK, *_PAX, _PAX_GLOBAL)

# Name, mode, owner, group, size, date, checksum, kind, link, magic, version and more, prefix.
_HEADER = struct.Struct("<100s24x12s12x8s1s100x6s82x155s12x")
_CHECKSUM = slice(148, 156)
_USTAR = b"ustar\0"
# The first byte of a number that is written in binary, because it has too many octal digits.
_BINARY = 0x80
# The length of a record, and a size, have fewer digits than this.
_LONGEST_NUMBER = 20
_SPARSE_KEYWORD = b"GNU.sparse."
# Records that change a member; a global header with one would change all.
_MEMBER_KEYWORDS = (b"path", b"size", b"linkpath")


class MalformedTar(ValueError):
    """The bytes are no tar archive, or no whole one; the message says why, and at which offset."""


class TarTooLarge(ValueError):
    """The archive has more or longer headers than any bundle; the message has the limit."""


class TarMember(NamedTuple):
    """A member: the offset of its bytes, their number, and whether it is a plain file or folder."""

    name: str
    start: int
    size: int
    is_file: bool
    is_folder: bool


class _Header(NamedTuple):
    name: bytes
    kind: bytes
    size: int


@dataclass
class _Budget:
    """What is left of the bytes and records of all extensions."""

    bytes: int = _MOST_EXTENSIONS
    records: int = _MOST_RECORDS

    def spend_bytes(self, size: int) -> None:
        """Count the bytes of an extension before it is read."""
        if size > _LONGEST_EXTENSION:
            raise TarTooLarge(
                f"a header is extended by {size} bytes, above the limit of {_LONGEST_EXTENSION}"
            )
        self.bytes -= size
        if self.bytes < 0:
            raise TarTooLarge(
                f"headers are extended by more than {_MOST_EXTENSIONS} bytes"
            )

    def spend_record(self) -> None:
        """Count a record of an extension."""
        self.records -= 1
        if self.records < 0:
            raise TarTooLarge(
                f"headers are extended by more than {_MOST_RECORDS} records"
            )


class _Source(NamedTuple):
    """The place of an extension header, and what is left to read."""

    position: int
    budget: _Budget


@dataclass
class _Extensions:
    """What the extension headers before a member say of it."""

    name: bytes | None = None
    size: int | None = None
    is_sparse: bool = False
    kinds: set[bytes] = field(default_factory=set)


def members(file: IO[bytes]) -> Iterator[TarMember]:
    """Yield the members of an archive in their order; contents are skipped, not read.

    Raises:
        MalformedTar: the archive is damaged or cut short.
        TarTooLarge: it has too many headers, or too long ones.
    """
    end = file.seek(0, os.SEEK_END)
    position = 0
    extensions = _Extensions()
    budget = _Budget()
    for _ in range(_MOST_HEADERS):
        header = _read_header(file, position, end)
        if header is None:
            _require_none(extensions, position)
            return
        start = position + BLOCK_BYTES
        if header.kind in _EXTENSIONS:
            budget.spend_bytes(header.size)
            _require_within(start, header.size, end)
            file.seek(start)
            content = file.read(header.size)
            _extend(extensions, header.kind, content, _Source(position, budget))
            position = start + _padded(header.size)
            continue
        member = _member(header, extensions, start)
        _require_within(start, member.size, end)
        yield member
        position = start + _padded(member.size)
        extensions = _Extensions()
    raise TarTooLarge(f"more than {_MOST_HEADERS} headers")


def _read_header(file: IO[bytes], position: int, end: int) -> _Header | None:
    """Return the header at a position; None at the end of the archive."""
    # The padding of the last member may be missing.
    if position >= end:
        return None
    file.seek(position)
    block = file.read(BLOCK_BYTES)
    if len(block) < BLOCK_BYTES:
        raise MalformedTar(f"the header at byte {position} is cut short")
    # The rest of the archive is padding.
    if not any(block):
        return None
    name, size, checksum, kind, magic, prefix = _HEADER.unpack(block)
    _require_checksum(block, checksum, position)
    name = _text(name)
    # Other kinds of archives have dates in the place of the prefix.
    if magic == _USTAR and _text(prefix):
        name = _text(prefix) + b"/" + name
    return _Header(name, kind, _number(size, position))


def _require_checksum(block: bytes, checksum: bytes, position: int) -> None:
    """Require the sum of a header's bytes, in which its own field counts as spaces."""
    blank = block[: _CHECKSUM.start] + b" " * len(checksum) + block[_CHECKSUM.stop :]
    if _number(checksum, position) != sum(blank):
        raise MalformedTar(
            f"the header at byte {position} has another checksum than it states"
        )


def _number(text: bytes, position: int) -> int:
    """Return a number of a header: octal digits, or binary behind a byte of 0x80."""
    if text[0] == _BINARY:
        return int.from_bytes(text[1:], "big")
    digits = _text(text).strip()
    if digits.strip(b"01234567"):
        raise MalformedTar(
            f"the header at byte {position} has no number where it must have one"
        )
    return int(digits or b"0", 8)


def _require_within(start: int, size: int, end: int) -> None:
    if start + size > end:
        raise MalformedTar(
            f"the member at byte {start} of {size} bytes ends after the archive"
        )


def _require_none(extensions: _Extensions, position: int) -> None:
    if extensions.kinds - {_PAX_GLOBAL}:
        raise MalformedTar(
            f"the archive ends at byte {position}, before a member of its headers"
        )


def _extend(
    extensions: _Extensions, kind: bytes, content: bytes, source: _Source
) -> None:
    """Add what an extension header says of the next member."""
    # Writers put each kind before a member once; a chain of them would have no end.
    if kind in extensions.kinds:
        raise TarTooLarge(
            f"a chain of headers at byte {source.position}, which extend one member"
        )
    extensions.kinds.add(kind)
    if kind == _PAX_GLOBAL:
        _require_harmless(content, source)
    elif kind == _GNU_NAME:
        extensions.name = _text(content)
    elif kind in _PAX:
        for keyword, value in _records(content, source):
            _apply(extensions, keyword, value, source.position)


def _require_harmless(content: bytes, source: _Source) -> None:
    """Require a global header without the names and sizes of members: `git archive` has notes."""
    for keyword, _ in _records(content, source):
        if keyword in _MEMBER_KEYWORDS or keyword.startswith(_SPARSE_KEYWORD):
            raise MalformedTar(
                f"the header at byte {source.position} names all members"
            )


def _apply(
    extensions: _Extensions, keyword: bytes, value: bytes, position: int
) -> None:
    if keyword == b"path":
        extensions.name = value
    elif keyword == b"size":
        extensions.size = _decimal(value, position)
    elif keyword.startswith(_SPARSE_KEYWORD):
        extensions.is_sparse = True


def _records(content: bytes, source: _Source) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keywords and values of a pax header, each from a record `<length> <key>=<value>`.

    A length counts its own digits and the line break at the end.
    """
    start = 0
    # Some writers fill the block with zeros.
    while start < len(content) and content[start] != 0:
        source.budget.spend_record()
        space = content.find(b" ", start, start + _LONGEST_NUMBER)
        length = _decimal(content[start : max(space, start)], source.position)
        stop = start + length
        if space + 1 >= stop or content[stop - 1 : stop] != b"\n":
            raise MalformedTar(
                f"the header at byte {source.position} has a record without an end"
            )
        keyword, _, value = content[space + 1 : stop - 1].partition(b"=")
        yield keyword, value
        start = stop


def _decimal(text: bytes, position: int) -> int:
    # Longer numbers would take their time.
    if not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise MalformedTar(
            f"the header at byte {position} has no number where it must have one"
        )
    return int(text)


def _member(header: _Header, extensions: _Extensions, start: int) -> TarMember:
    """Return the member of a header, as the extensions before it change it."""
    name = header.name if extensions.name is None else extensions.name
    size = header.size if extensions.size is None else extensions.size
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise MalformedTar(
            f"the name of the member at byte {start} is no UTF-8"
        ) from error
    # Old archives have no kind for folders.
    is_folder = header.kind == _FOLDER or (header.kind == b"\0" and text.endswith("/"))
    is_plain = header.kind == _FILE or header.kind in _OTHER_FILES
    is_file = is_plain and not is_folder and not extensions.is_sparse
    # The size of a folder is a hint, and no bytes follow.
    return TarMember(text, start, 0 if is_folder else size, is_file, is_folder)


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _text(content: bytes) -> bytes:
    """Return the text before the first zero byte."""
    return content.partition(b"\0")[0]

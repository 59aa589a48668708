"""The Range header: which bytes of a file a client asks for (RFC 9110, section 14)."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from app.errors import Problem

# 18 digits fit 64 bits; Python would otherwise parse numbers of any length.
_SPEC = re.compile(r"(?P<first>\d{1,18})-(?P<last>\d{1,18})?|-(?P<length>\d{1,18})")
# Many small ranges cost a server more than the whole file (RFC 9110, section 17.15).
_MOST_RANGES = 100
_LONGEST_SHOWN = 80


class ByteRange(NamedTuple):
    """The bytes from `start` up to, but not including, `end`."""

    start: int
    end: int


def parse_ranges(header: str, size: int) -> Sequence[ByteRange]:
    """Return the ranges of a file of `size` bytes, in order and without overlap.

    There are none for a header that is malformed, in another unit, or asks for too many ranges: the
    whole file is the answer then.

    >>> parse_ranges("bytes=5-9,0-1,8-20", 12)
    [ByteRange(start=0, end=2), ByteRange(start=5, end=12)]
    >>> parse_ranges("lines=1-2", 12)
    []

    Raises:
        Problem: `range_not_satisfiable` if one of the ranges is outside the file.
    """
    unit, _, specs = header.partition("=")
    matches = [_SPEC.fullmatch(spec.strip()) for spec in specs.split(",")]
    if unit.lower() != "bytes" or not all(matches):
        return []
    ranges = [_range(match, size) for match in matches if match]
    if any(each.start >= each.end for each in ranges):
        raise _not_satisfiable(header, size)
    if len(ranges) > _MOST_RANGES:
        return []
    return _merge(ranges)


def _range(match: re.Match[str], size: int) -> ByteRange:
    """Return the range of one spec; its end is not above its start if it is outside the file."""
    if match["length"]:
        return ByteRange(max(0, size - int(match["length"])), size)
    first = int(match["first"])
    if match["last"]:
        return ByteRange(first, min(int(match["last"]) + 1, size))
    return ByteRange(first, size)


def _merge(ranges: Sequence[ByteRange]) -> list[ByteRange]:
    """Sort ranges, and join those that overlap or touch."""
    merged: list[ByteRange] = []
    for each in sorted(ranges):
        if merged and each.start <= merged[-1].end:
            before = merged.pop()
            each = ByteRange(before.start, max(before.end, each.end))
        merged.append(each)
    return merged


def _not_satisfiable(header: str, size: int) -> Problem:
    return Problem(
        "range_not_satisfiable",
        "the range is not part of the file",
        field="Range",
        expected=f"bytes=FIRST-LAST within 0 and {size - 1}",
        got=header[:_LONGEST_SHOWN],
        headers={"Content-Range": f"bytes */{size}"},
    )

"""Protocol buffers on the wire: the fields of a message, without a schema, copies or trust.

Source: the Protocol Buffers encoding specification (varints, tag = field << 3 | wire type,
length-delimited records).
"""

from collections.abc import Iterator
from typing import NamedTuple

Buffer = bytes | memoryview

VARINT = 0
FIXED64 = 1
DELIMITED = 2
FIXED32 = 5

# A 64-bit number takes ten bytes of seven bits.
_LONGEST_VARINT = 10


class MalformedMessage(ValueError):
    """The bytes are no protocol-buffers message; the message says why, and at which offset."""


class Field(NamedTuple):
    """A field of a message: bytes [start, end) are the whole record, [value, end) its payload."""

    number: int
    wire_type: int
    start: int
    value: int
    end: int


def fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in `buffer[start:end]`, in order, with all bounds checked.

    Raises:
        MalformedMessage: a field that runs past `end`, an unknown wire type, or field number 0.

    >>> message = bytes([0x08, 0x07, 0x12, 0x02, 0x68, 0x69])
    >>> [(field.number, field.value, field.end) for field in fields(message, 0, 6)]
    [(1, 1, 2), (2, 4, 6)]
    """
    position = start
    while position < end:
        tag, value = read_varint(buffer, position, end)
        # The low three bits are the wire type.
        number = tag >> 3
        wire_type = tag & 7
        if number == 0:
            raise MalformedMessage(f"field number 0 at byte {position}")
        if wire_type == VARINT:
            _, stop = read_varint(buffer, value, end)
        elif wire_type == DELIMITED:
            length, value = read_varint(buffer, value, end)
            stop = value + length
        elif wire_type == FIXED32:
            stop = value + 4
        elif wire_type == FIXED64:
            stop = value + 8
        else:
            raise MalformedMessage(f"wire type {wire_type} at byte {position}")
        # A length is a claim of the file.
        if stop > end:
            raise MalformedMessage(
                f"field {number} at byte {position} ends at {stop}, beyond its message's end {end}"
            )
        yield Field(number, wire_type, position, value, stop)
        position = stop


def read_varint(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    """Return the unsigned varint at `position`, and the offset after it.

    Raises:
        MalformedMessage: it runs past `end` or over 64 bits.

    >>> read_varint(bytes([0xAC, 0x02]), 0, 2)
    (300, 2)
    """
    value = 0
    shift = 0
    for offset in range(position, min(end, position + _LONGEST_VARINT)):
        byte = buffer[offset]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset + 1
        shift += 7
    raise MalformedMessage(f"unfinished varint at byte {position}")


def write_varint(value: int) -> bytes:
    """Encode an unsigned integer.

    >>> write_varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

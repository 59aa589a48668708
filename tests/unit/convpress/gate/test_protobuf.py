"""Fields of a message, with every bound checked."""

import pytest

from convpress.gate import protobuf
from convpress.gate.protobuf import MalformedMessage


def fields(content):
    return [
        (field.number, field.wire_type, content[field.value : field.end])
        for field in protobuf.fields(content, 0, len(content))
    ]


def test_each_wire_type_has_its_payload():
    content = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1a\x02hi" + b"\x25" + bytes(4)
    assert fields(content) == [
        (1, protobuf.VARINT, b"\x96\x01"),
        (2, protobuf.FIXED64, bytes(8)),
        (3, protobuf.DELIMITED, b"hi"),
        (4, protobuf.FIXED32, bytes(4)),
    ]
    assert fields(b"") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x00\x01", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x1a\x03hi", "beyond its message's end"),
        (b"\x11" + bytes(7), "beyond its message's end"),
        (b"\x08", "unfinished varint"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "unfinished varint"),
    ],
)
def test_what_runs_past_its_end_is_no_message(content, reason):
    with pytest.raises(MalformedMessage, match=reason):
        fields(content)


@pytest.mark.parametrize("value", [0, 127, 128, 300, 2**32, 2**64 - 1])
def test_a_number_survives_its_encoding(value):
    encoded = protobuf.write_varint(value)
    assert protobuf.read_varint(encoded, 0, len(encoded)) == (value, len(encoded))

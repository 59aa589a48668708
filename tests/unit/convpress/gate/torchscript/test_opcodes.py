"""An opcode's argument has a fixed size, a length before it, or lines."""

import pickletools

import pytest

from convpress.gate.torchscript.opcodes import BY_BYTE


@pytest.mark.parametrize(
    ("content", "argument"),
    [
        (b"N.", b""),
        (b"K\x07.", b"\x07"),
        (b"G12345678.", b"12345678"),
        (b"X\x02\x00\x00\x00hi.", b"hi"),
        (b"U\x02hi.", b"hi"),
        (b"cmodule\nname\n.", b"module\nname\n"),
    ],
)
def test_an_argument_ends_where_the_next_opcode_begins(content, argument):
    start, stop = BY_BYTE[content[0]].argument(content, 1)
    assert content[start:stop] == argument
    assert content[stop:] == b"."


def test_a_line_without_an_end_is_no_argument():
    with pytest.raises(ValueError, match="not found"):
        BY_BYTE[ord("c")].argument(b"cmodule\nname", 1)


def test_names_are_those_of_pickletools():
    known = {opcode.code: opcode.name for opcode in pickletools.opcodes}
    for byte, opcode in BY_BYTE.items():
        assert known[chr(byte)] == opcode.name

"""The pickle opcodes that torch writes, and the arguments that follow them.

Source: torch/csrc/jit/serialization/pickler.cpp, and the standard library's pickletools.
"""

from typing import NamedTuple


class Opcode(NamedTuple):
    """A pickle opcode: its name in pickletools, and its argument.

    The argument has `fixed` bytes, or `length_bytes` bytes with the length of a text that follows,
    or as many lines as `lines` says.
    """

    name: str
    fixed: int = 0
    length_bytes: int = 0
    lines: int = 0

    def argument(self, pickle: bytes, start: int) -> tuple[int, int]:
        """Return the offsets of the argument's begin and end; the opcode itself ends at `start`.

        Raises:
            ValueError: a line has no end.
        """
        if self.lines:
            # Module and name of a global are a line each.
            stop = start
            for _ in range(self.lines):
                stop = pickle.index(b"\n", stop) + 1
            return start, stop
        if self.length_bytes:
            text = start + self.length_bytes
            length = int.from_bytes(pickle[start:text], "little")
            return text, text + length
        return start, start + self.fixed


BY_BYTE = {
    ord("("): Opcode("MARK"),
    ord("N"): Opcode("NONE"),
    0x88: Opcode("NEWTRUE"),
    0x89: Opcode("NEWFALSE"),
    ord("J"): Opcode("BININT", fixed=4),
    ord("K"): Opcode("BININT1", fixed=1),
    ord("M"): Opcode("BININT2", fixed=2),
    ord("G"): Opcode("BINFLOAT", fixed=8),
    0x8A: Opcode("LONG1", length_bytes=1),
    ord("X"): Opcode("BINUNICODE", length_bytes=4),
    ord("U"): Opcode("SHORT_BINSTRING", length_bytes=1),
    ord("q"): Opcode("BINPUT", fixed=1),
    ord("r"): Opcode("LONG_BINPUT", fixed=4),
    ord("h"): Opcode("BINGET", fixed=1),
    ord("j"): Opcode("LONG_BINGET", fixed=4),
    ord(")"): Opcode("EMPTY_TUPLE"),
    ord("t"): Opcode("TUPLE"),
    0x85: Opcode("TUPLE1"),
    0x86: Opcode("TUPLE2"),
    0x87: Opcode("TUPLE3"),
    ord("]"): Opcode("EMPTY_LIST"),
    ord("}"): Opcode("EMPTY_DICT"),
    ord("a"): Opcode("APPEND"),
    ord("e"): Opcode("APPENDS"),
    ord("s"): Opcode("SETITEM"),
    ord("u"): Opcode("SETITEMS"),
    ord("c"): Opcode("GLOBAL", lines=2),
    ord("R"): Opcode("REDUCE"),
    0x81: Opcode("NEWOBJ"),
    ord("b"): Opcode("BUILD"),
    ord("Q"): Opcode("BINPERSID"),
    0x80: Opcode("PROTO", fixed=1),
    ord("."): Opcode("STOP"),
}
"""The opcodes by their byte."""

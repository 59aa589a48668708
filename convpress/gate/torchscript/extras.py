"""The extra files of an archive: they come back in the artifact, so that they must not run code.

torch returns them as bytes, and their readers may unpickle them.
"""

import pickletools
from collections.abc import Iterator
from itertools import islice

from convpress.gate.refusals import over_limit, unsafe
from convpress.limits import Limits

# torch.save writes such an archive, with a pickle in it.
_ZIP = b"PK\x03\x04"
_CALLS = frozenset(
    {
        *("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"),
        # An import runs the module. These opcodes are in no text.
        *("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"),
    }
)
# The first bytes of all pickles but the oldest.
_PROTOCOL = b"\x80"
_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_MARK = pickletools.markobject
# The bytes of a length before a text, by pickletools' number for them.
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_EXPECTED = "texts, or pickles of texts, numbers and plain containers"


def require_safe_extra(content: bytes, name: str, limits: Limits) -> None:
    """Require that an extra file is neither a zip archive nor a pickle that runs anything.

    Raises:
        Refusal: `model_unsafe`, or `model_over_limit` for a pickle that is too long to be read.
    """
    if content.startswith(_ZIP):
        raise unsafe(f"{name} is a zip archive, which may hold a pickle", _EXPECTED)
    steps = 0
    imports = False
    for opcode in islice(_steps(content), limits.pickle_steps + 1):
        steps += 1
        imports |= opcode == "GLOBAL"
        # A list of names may begin as an old pickle: it lacks the end.
        is_pickle = opcode == "STOP" or content.startswith(_PROTOCOL)
        if opcode in _CALLS or (imports and is_pickle):
            raise unsafe(
                f"{name} is a pickle that imports, calls a function or builds an object",
                _EXPECTED,
            )
    if steps > limits.pickle_steps:
        raise over_limit(
            f"{name} is a pickle with too many steps", f"at most {limits.pickle_steps}"
        )


def _steps(content: bytes) -> Iterator[str]:
    """Yield the opcodes that an unpickler would run, up to the first one that surely fails.

    Nearly every text fails at once, since it takes values from a stack that has none.
    """
    depth = 0
    marks: list[int] = []
    position = 0
    while position < len(content):
        opcode = _OPCODES.get(content[position])
        end = -1 if opcode is None else _end(opcode, content, position + 1)
        if opcode is None or not position < end <= len(content):
            return
        needed = list(opcode.stack_before)
        takes_mark = opcode.name == "POP" and marks and marks[-1] == depth
        if _MARK in needed or takes_mark:
            if not marks:
                return
            depth = marks.pop()
            needed = [] if takes_mark else needed[: needed.index(_MARK)]
        depth -= len(needed)
        if depth < 0:
            return
        if opcode.name == "MARK":
            marks.append(depth)
        else:
            depth += len(opcode.stack_after)
        yield opcode.name
        position = end


def _end(opcode: pickletools.OpcodeInfo, content: bytes, start: int) -> int:
    """Return the offset behind an opcode's argument, which begins at `start`; -1 without an end.

    Arguments are not decoded: unpicklers differ in what they accept.
    """
    argument = opcode.arg
    if argument is None:
        return start
    if argument.n >= 0:
        return start + argument.n
    if argument.n == pickletools.UP_TO_NEWLINE:
        end = content.find(b"\n", start) + 1
        if argument.name.endswith("_pair") and end:
            end = content.find(b"\n", end) + 1
        return end or -1
    text = start + _LENGTH_BYTES[argument.n]
    return text + int.from_bytes(content[start:text], "little")

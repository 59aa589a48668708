"""The signs of files: how the beginning of one, or the names in one, tells its kind."""

import codecs
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from convpress.gate import mapped
from convpress.gate.container import Container
from convpress.gate.protobuf import DELIMITED, VARINT, Field, MalformedMessage

_HEAD_BYTES = 4096
# Names of an archive that are looked at, in characters: each pattern walks over all of them.
_MOST_NAMES = 256 * 1024
# Characters of a name: some patterns walk over it once for each folder in it.
_LONGEST_NAME = 1024
# Top-level fields of a message that are looked at.
_MOST_FIELDS = 1000
# The fields of Core ML's kinds of models, all in one range; ONNX has none of these.
_CORE_ML_KINDS = range(200, 3001)
_LONGEST_PATH = 1000
_PATH = re.compile(r"@?\S*[/\\]\S+|@?[^<>{}]*\.\w{1,12}")


def _head(file: Container) -> bytes:
    return bytes(file.content[:_HEAD_BYTES])


def begins(*magics: bytes) -> Callable[[Container], bool]:
    """Return a test whether a file begins with one of these bytes."""
    return lambda file: _head(file).startswith(magics)


def begins_after(offset: int, *magics: bytes) -> Callable[[Container], bool]:
    """Return a test whether a file has one of these bytes at an offset."""
    return lambda file: _head(file)[offset:].startswith(magics)


def has(*patterns: str) -> Callable[[Container], bool]:
    """Return a test whether an archive has a member for each pattern, in any folder."""
    compiled = [re.compile(rf"(.*/)?({pattern})") for pattern in patterns]

    def recognise(file: Container) -> bool:
        names = _bounded(file.members or ())
        return all(any(map(pattern.fullmatch, names)) for pattern in compiled)

    return recognise


def _bounded(names: Sequence[str]) -> Sequence[str]:
    """Return the first names, up to a number of characters, without those that are too long.

    The names of known kinds have far fewer characters.
    """
    lengths = accumulate(len(name) for name in names)
    first = names[: bisect_right(list(lengths), _MOST_NAMES)]
    return [name for name in first if len(name) <= _LONGEST_NAME]


def is_safetensors(file: Container) -> bool:
    """Tell whether a file begins with the length of a JSON header, and this header."""
    head = _head(file)
    if len(head) < 10 or head[8:10] not in (b'{"', b"{}"):
        return False
    (length,) = struct.unpack_from("<Q", head)
    return bool(length <= len(file.content) - 8)


def is_tensorrt(file: Container) -> bool:
    """Tell whether a file is an engine; some programs put a length and JSON before it."""
    head = _head(file)
    if head.startswith(b"ftrt"):
        return True
    start = 4 + int.from_bytes(head[:4], "little")
    return head[4:5] == b"{" and bytes(file.content[start : start + 4]) == b"ftrt"


def _fields(file: Container, start: int, end: int) -> list[Field]:
    """Return the first fields of a message; none where it is none."""
    fields: list[Field] = []
    try:
        for field in mapped.fields(file.content, start, end):
            fields.append(field)
            if len(fields) == _MOST_FIELDS:
                break
    except MalformedMessage:
        return []
    return fields


def is_core_ml(file: Container) -> bool:
    """Tell whether a file is a message of a version, a description, and one kind of model."""
    numbers = {field.number for field in _fields(file, 0, len(file.content))}
    return {1, 2} <= numbers and any(number in _CORE_ML_KINDS for number in numbers)


def is_saved_model(file: Container) -> bool:
    """Tell whether a file is a SavedModel: a version, and graphs that begin with a description."""
    fields = _fields(file, 0, len(file.content))
    if [(field.number, field.wire_type) for field in fields[:2]] != [
        (1, VARINT),
        (2, DELIMITED),
    ]:
        return False
    has_graphs_alone = {field.number for field in fields} == {1, 2}
    return has_graphs_alone and bytes(file.content[fields[1].value :][:1]) == b"\x0a"


def is_graph_def(file: Container) -> bool:
    """Tell whether a file is a GraphDef: nodes, which begin with a name and an operator."""
    if not _head(file).startswith(b"\x0a"):
        return False
    fields = _fields(file, 0, len(file.content))
    if not fields or not {field.number for field in fields} <= {1, 2, 3, 4}:
        return False
    node = _fields(file, fields[0].value, fields[0].end)
    if [field.number for field in node[:2]] != [1, 2]:
        return False
    operator = bytes(file.content[node[1].value : node[1].end])
    return re.fullmatch(rb"[A-Z][A-Za-z0-9>]{1,99}", operator) is not None


def _text(file: Container) -> str | None:
    """Return the beginning of a text; None for other files."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    # The end of the head may cut a character.
    is_whole = len(file.content) <= _HEAD_BYTES
    try:
        text = decoder.decode(_head(file), is_whole)
    except UnicodeDecodeError:
        return None
    has_controls = any(
        not (letter.isprintable() or letter in "\t\r\n") for letter in text
    )
    return None if has_controls else text


def is_text(pattern: str) -> Callable[[Container], bool]:
    """Return a test whether a file is a text that begins with a pattern, in any case."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def recognise(file: Container) -> bool:
        text = _text(file)
        return text is not None and compiled.match(text.lstrip()) is not None

    return recognise


def is_path(file: Container) -> bool:
    """Tell whether a file holds one line that is the name of a file, or its address."""
    line = (_text(file) or "").strip()
    is_short = len(file.content) <= _LONGEST_PATH
    return is_short and "\n" not in line and _PATH.fullmatch(line) is not None

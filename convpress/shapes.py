"""The input shape as a user writes it."""

import re

from convpress.refusal import Code, Refusal

FIELD = "input_shape"
EXPECTED = "sizes joined by x (1x3x224x224); several inputs as name=1x3x224x224,other=1x10"

_SHAPE = re.compile(r"[0-9]{1,9}(x[0-9]{1,9}){0,15}", re.IGNORECASE)
_LONGEST = 2000

InputShapes = dict[str, tuple[int, ...]]
"""Shapes by input name; the name is empty where the user gave a single shape without one."""


def parse_input_shape(text: str | None) -> InputShapes | None:
    """Read an input shape, or None where none was given.

    Raises:
        Refusal: `input_shape_invalid` for anything else than positive sizes joined by x.

    >>> parse_input_shape("1x3x224x224")
    {'': (1, 3, 224, 224)}
    >>> parse_input_shape("image=1x3x8x8,mask=1x8")
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    """
    if text is None or not text.strip():
        return None
    shown = text if len(text) <= 80 else text[:80] + "..."
    if len(text) > _LONGEST:
        raise _invalid(f"{FIELD} is longer than {_LONGEST} characters", shown)
    shapes: InputShapes = {}
    parts = text.strip().split(",")
    for part in parts:
        name, named, sizes = part.strip().rpartition("=")
        name, sizes = name.strip(), sizes.strip()
        if not _SHAPE.fullmatch(sizes) or (named and not name) or (not named and len(parts) > 1):
            raise _invalid(f"{part.strip()[:80]!r} is not a shape", shown)
        shape = tuple(int(size) for size in re.split("[xX]", sizes))
        if 0 in shape:
            raise _invalid("sizes are positive", shown)
        if name in shapes:
            raise _invalid(f"input {name!r} is given twice", shown)
        shapes[name] = shape
    return shapes


def format_shape(shape: tuple[int | str | None, ...]) -> str:
    """Write a shape as `parse_input_shape` reads it; an unknown size is a question mark.

    >>> format_shape((None, 3, "height", 224))
    '?x3xheightx224'
    """
    return "x".join("?" if size is None else str(size) for size in shape)


def _invalid(detail: str, got: str) -> Refusal:
    return Refusal(Code.INPUT_SHAPE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)

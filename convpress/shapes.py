"""Input shapes as users write them."""

import re

from convpress.refusal import Code, Refusal

FIELD = "input_shape"
EXPECTED = "sizes joined by x (1x3x224x224); several inputs as name=1x3x224x224,other=1x10"

# Nine digits fit into 32 bits.
_SHAPE = re.compile(r"[0-9]{1,9}(x[0-9]{1,9}){0,15}", re.IGNORECASE)
_LONGEST_TEXT = 2000

InputShapes = dict[str, tuple[int, ...]]
"""Shapes by input name; the name is empty for a single shape without a name."""


def parse_input_shape(text: str | None) -> InputShapes | None:
    """Read an input shape; None for an empty text.

    Raises:
        Refusal: `input_shape_invalid` for anything but positive sizes joined by x.

    >>> parse_input_shape("1x3x224x224")
    {'': (1, 3, 224, 224)}
    >>> parse_input_shape("image=1x3x8x8,mask=1x8")
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    """
    if text is None or not text.strip():
        return None
    if len(text) > _LONGEST_TEXT:
        raise _invalid(f"{FIELD} is longer than {_LONGEST_TEXT} characters", text)
    shapes: InputShapes = {}
    parts = text.strip().split(",")
    for part in parts:
        # From the right, since the name of an ONNX input may contain an equals sign.
        name, equals, sizes = (piece.strip() for piece in part.strip().rpartition("="))
        lacks_name = not name and (equals or len(parts) > 1)
        if lacks_name or not _SHAPE.fullmatch(sizes):
            raise _invalid(f"{part.strip()[:80]!r} is not a shape", text)
        shape = tuple(int(size) for size in re.split("[xX]", sizes))
        # An empty input has no cost to reduce.
        if 0 in shape:
            raise _invalid("sizes must be positive", text)
        if name in shapes:
            raise _invalid(f"input {name!r} is named twice", text)
        shapes[name] = shape
    return shapes


def format_shape(shape: tuple[int | str | None, ...]) -> str:
    """Return a shape as users write it; an unknown size is a question mark.

    >>> format_shape((None, 3, "height", 224))
    '?x3xheightx224'
    """
    return "x".join("?" if size is None else str(size) for size in shape)


def _invalid(detail: str, text: str) -> Refusal:
    got = text if len(text) <= 80 else text[:80] + "..."
    return Refusal(Code.INPUT_SHAPE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got)

"""Input shapes as users write them."""

import re
from collections.abc import Iterable

from convpress.refusal import Code, Refusal
from convpress.text.spelling import did_you_mean

FIELD = "input_shape"
EXPECTED = (
    "sizes joined by x (1x3x224x224); several inputs as name=1x3x224x224,other=1x10; "
    "a type before the sizes (int64:1x20) where the model does not tell it"
)
TYPES = (
    "float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"
)  # fmt: skip
"""The types of inputs that a shape may name."""

# Nine digits fit into 32 bits.
_SHAPE = re.compile(
    r"(?:([a-z0-9]+):)?([0-9]{1,9}(?:x[0-9]{1,9}){0,15})", re.IGNORECASE
)
_LONGEST_TEXT = 2000
# As programs print shapes: [1, 3, 224, 224] or (1, 3, 224, 224). Only where sizes can stand: the
# name of an ONNX input may have brackets.
_NUMBERS = r"\s*([0-9]{1,9}(?:\s*,\s*[0-9]{1,9}){0,15})\s*,?\s*"
_LIST = re.compile(rf"(^|[=:,])\s*(?:\[{_NUMBERS}\]|\({_NUMBERS}\))\s*(?=,|$)")
_ONLY_NUMBERS = re.compile(
    r"((?:[a-z0-9]+:)?)([0-9]{1,9}(?:\s*,\s*[0-9]{1,9}){1,15})", re.IGNORECASE
)


class TypedShape(tuple[int, ...]):
    """A shape with the type of its input, by NumPy's name."""

    dtype: str

    @classmethod
    def of(cls, dtype: str, sizes: Iterable[int]) -> "TypedShape":
        """Return a shape with a type."""
        shape = cls(sizes)
        shape.dtype = dtype
        return shape


InputShapes = dict[str, tuple[int, ...]]
"""Shapes by input name; the name is empty for a single shape without a name."""


def parse_input_shape(text: str | None) -> InputShapes | None:
    """Read an input shape; None for an empty text.

    Raises:
        Refusal: `input_shape_invalid` for anything but positive sizes joined by x, or in brackets
            as programs print them.

    >>> parse_input_shape("1x3x224x224")
    {'': (1, 3, 224, 224)}
    >>> parse_input_shape("image=1x3x8x8,mask=1x8")
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    >>> parse_input_shape("image=[1, 3, 8, 8], mask=(1, 8)")
    {'image': (1, 3, 8, 8), 'mask': (1, 8)}
    >>> parse_input_shape("1,3,224,224")
    {'': (1, 3, 224, 224)}
    >>> parse_input_shape("ids=int64:1x20")["ids"].dtype
    'int64'
    """
    if text is None or not text.strip():
        return None
    if len(text) > _LONGEST_TEXT:
        raise _invalid(f"{FIELD} is longer than {_LONGEST_TEXT} characters", text)
    shapes: InputShapes = {}
    parts = _joined_by_x(text.strip()).split(",")
    for part in parts:
        # From the right, since the name of an ONNX input may contain an equals sign.
        name, equals, sizes = (piece.strip() for piece in part.strip().rpartition("="))
        lacks_name = not name and (equals or len(parts) > 1)
        match = _SHAPE.fullmatch(sizes)
        if lacks_name or match is None:
            raise _invalid(f"{part.strip()[:80]!r} is not a shape", text)
        shape = _shape(match[1], match[2], text)
        # An empty input has no cost to reduce.
        if 0 in shape:
            raise _invalid("sizes must be positive", text)
        if name in shapes:
            raise _invalid(f"input {name!r} is named twice", text)
        shapes[name] = shape
    return shapes


def _joined_by_x(text: str) -> str:
    """Return a text with lists of sizes, in brackets or alone, joined by x.

    >>> _joined_by_x("a=[1, 3],b=1x2"), _joined_by_x("int64:1, 20"), _joined_by_x("a=1,b=2")
    ('a=1x3,b=1x2', 'int64:1x20', 'a=1,b=2')
    """

    def joined(match: re.Match[str]) -> str:
        sizes = match[2] or match[3]
        return match[1] + re.sub(r"\s*,\s*", "x", sizes)

    alone = _ONLY_NUMBERS.fullmatch(text)
    if alone is not None:
        return alone[1] + re.sub(r"\s*,\s*", "x", alone[2])
    return _LIST.sub(joined, text)


def _shape(dtype: str | None, sizes: str, text: str) -> tuple[int, ...]:
    """Return a shape, with its type where there is one.

    Raises:
        Refusal: `input_shape_invalid` for an unknown type.
    """
    numbers = tuple(int(size) for size in re.split("[xX]", sizes))
    if dtype is None:
        return numbers
    if dtype not in TYPES:
        meant = did_you_mean(dtype, TYPES)
        known = ", ".join(TYPES)
        raise _invalid(
            f"{dtype!r} is not a type of inputs{meant or f': these are {known}'}", text
        )
    return TypedShape.of(dtype, numbers)


def format_shape(shape: tuple[int | str | None, ...]) -> str:
    """Return a shape as users write it; an unknown size is a question mark.

    >>> format_shape((None, 3, "height", 224))
    '?x3xheightx224'
    """
    return "x".join("?" if size is None else str(size) for size in shape)


def _invalid(detail: str, text: str) -> Refusal:
    got = text if len(text) <= 80 else text[:80] + "..."
    return Refusal(
        Code.INPUT_SHAPE_INVALID, detail, field=FIELD, expected=EXPECTED, got=got
    )

"""The sizes of inputs that a user has to state, by the rules by which the engine binds shapes.

A first axis without a size is a batch: of one sample, or of the fewest that its symbol may be. So
is every axis with its symbol.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from convpress.shapes import format_shape

Sizes = Sequence[int | str | None]
"""The sizes of an input: numbers, symbols, or None."""


def unstated(
    shapes: Mapping[str, Sizes], least: Mapping[str, int] = MappingProxyType({})
) -> str | None:
    """Return the shapes with sizes to be stated, as a user writes them; None where all are known.

    `least` are the fewest samples by the symbol of a batch, where that is more than one.

    >>> unstated({"image": ("n", 3, None, 8), "mask": ("n", 8)})
    'image=1x3x?x8'
    """
    batches: dict[int | str | None, int] = {}
    for shape in shapes.values():
        if shape and isinstance(shape[0], str):
            batches[shape[0]] = least.get(shape[0], 1)
    missing = {}
    for name, shape in shapes.items():
        filled = [batches.get(size, size) for size in shape]
        if filled[:1] == [None]:
            filled[0] = 1
        if any(not isinstance(size, int) for size in filled):
            missing[name] = format_shape(tuple(filled))
    if len(shapes) == 1:
        return next(iter(missing.values()), None)
    return ",".join(f"{name}={shape}" for name, shape in missing.items()) or None

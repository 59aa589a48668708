"""Shapes of operands that the counting rules of several operators share."""

from collections.abc import Sequence
from math import prod

from onnx import NodeProto

from worker.engine.formats.onnx.shapes import Shape


def present(shapes: Sequence[Shape | None], number: int) -> list[Shape]:
    """Return the first shapes, none of which may be omitted.

    Raises:
        ValueError: one is omitted.
    """
    leading = shapes[:number]
    first = [shape for shape in leading if shape is not None]
    if len(first) < number:
        raise ValueError(f"{len(first)} operands instead of {number}")
    return first


def recurrent(_: NodeProto, shapes: Sequence[Shape | None]) -> int:
    """Every step multiplies the input by W and the state by R.

    Shapes: x `(steps, batch, inputs)`, W `(directions, gates * hidden, inputs)`,
    R `(directions, gates * hidden, hidden)`, or both transposed.

    >>> recurrent(NodeProto(op_type="LSTM"), [(5, 2, 8), (1, 16, 8), (1, 16, 4)])
    1920
    """
    x, w, r = present(shapes, 3)
    have_three_axes = len(x) == len(w) == len(r) == 3
    sizes = w[1:]
    if not have_three_axes or x[2] not in sizes:
        raise ValueError(f"shapes {x}, {w} and {r} fit no recurrent layer")
    macs_per_row = prod(w) + prod(r)
    steps, batch, _inputs = x
    return steps * batch * macs_per_row

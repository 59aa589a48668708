"""Values of inputs that are neither images nor signals: masks, positions, lengths, indices, flags.

Names tell masks, positions and lengths from other inputs: exporters keep those of the network.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.model import TensorSpec

Shapes = Mapping[str, tuple[int, ...]]

_LENGTH_NAMES = ("length", "lens", "_len")


def is_mask(spec: TensorSpec) -> bool:
    """Return whether an input marks elements of a sequence, by its name or by its use.

    >>> is_mask(TensorSpec("attention_mask", "int64", None))
    True
    """
    return spec.leaves_out or "mask" in spec.name.lower()


def is_position(spec: TensorSpec) -> bool:
    """Return whether an input has the positions of a sequence's elements, by its name."""
    return spec.rows is not None and "position" in spec.name.lower()


def neutral(
    spec: TensorSpec, specs: Sequence[TensorSpec], shapes: Shapes
) -> NDArray[np.generic]:
    """Return an input's array that leaves nothing out, of the shape that is bound to it.

    A mask keeps everything, positions count up, a length is that of the sequence. All else is 0,
    which is valid as an index, a flag and a first state; a floating-point input of at most one axis
    is a factor, and 1.

    >>> ids = TensorSpec("ids", "int64", None, rows=50)
    >>> length = TensorSpec("length", "int64", None)
    >>> neutral(length, [ids, length], {"ids": (1, 7), "length": (1,)})
    array([7])
    """
    shape = shapes[spec.name]
    dtype = np.dtype(spec.dtype)
    if is_mask(spec):
        # A mask of padding marks what is left out.
        marks_padding = spec.leaves_out or "pad" in spec.name.lower()
        keeps = 0 if marks_padding else 1
        return np.full(shape, keeps, dtype)
    if is_position(spec) and shape:
        rows = spec.rows or 1
        positions = np.arange(shape[-1]) % rows
        spread = np.broadcast_to(positions, shape)
        return spread.astype(dtype)
    is_whole = np.issubdtype(dtype, np.integer)
    if is_whole and len(shape) < 2 and _is_length(spec):
        length = _sequence_length(specs, shapes)
        return np.full(shape, length, dtype)
    is_factor = len(shape) < 2 and np.issubdtype(dtype, np.floating)
    value = 1 if is_factor else 0
    return np.full(shape, value, dtype)


def _is_length(spec: TensorSpec) -> bool:
    return any(part in spec.name.lower() for part in _LENGTH_NAMES)


def _sequence_length(specs: Sequence[TensorSpec], shapes: Shapes) -> int:
    """Return the longest axis after the batch of the first input that has several axes."""
    for spec in specs:
        shape = shapes[spec.name]
        if len(shape) > 1:
            return max(shape[1:])
    return 0

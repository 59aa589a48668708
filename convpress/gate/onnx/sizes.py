"""The sizes of tensors in an ONNX file: elements, bits and bytes, all bounded."""

from math import prod

from convpress.gate.refusals import damaged, over_limit
from convpress.limits import Limits

# The bits of one element, by ONNX's number of the type.
BITS = {
    1: 32,  # FLOAT
    2: 8,  # UINT8
    3: 8,  # INT8
    4: 16,  # UINT16
    5: 16,  # INT16
    6: 32,  # INT32
    7: 64,  # INT64
    9: 8,  # BOOL
    10: 16,  # FLOAT16
    11: 64,  # DOUBLE
    12: 32,  # UINT32
    13: 64,  # UINT64
    14: 64,  # COMPLEX64
    15: 128,  # COMPLEX128
    16: 16,  # BFLOAT16
    17: 8,  # FLOAT8E4M3FN
    18: 8,  # FLOAT8E4M3FNUZ
    19: 8,  # FLOAT8E5M2
    20: 8,  # FLOAT8E5M2FNUZ
    21: 4,  # UINT4
    22: 4,  # INT4
    23: 4,  # FLOAT4E2M1
    24: 8,  # FLOAT8E8M0
    25: 2,  # UINT2
    26: 2,  # INT2
}
_SHOWN_AXES = 16


def bounded_size(dims: list[int], bits: int, what: str, limits: Limits) -> int:
    """Return the number of elements of a shape, which must not be too large.

    An axis of 0 elements makes a tensor empty, but not small to all libraries: the others are
    bounded without it.
    """
    bound_axes(dims, what, limits)
    if any(dim < 0 for dim in dims):
        raise damaged(f"{what} has the shape {shown_shape(dims)}")
    largest = prod(dim for dim in dims if dim)
    if largest * bits // 8 > limits.tensor_bytes:
        raise over_limit(
            f"{what} declares the shape {shown_shape(dims)}",
            f"at most {limits.tensor_bytes} bytes",
        )
    return prod(dims)


def bound_axes(dims: list[int], what: str, limits: Limits) -> None:
    """Require few axes, at once: a file may have them in a million fields."""
    if len(dims) > limits.nesting:
        raise damaged(f"{what} has the shape {shown_shape(dims)}, and more axes")


def packed_bytes(elements: int, bits: int) -> int:
    """Return the bytes of elements that are packed without gaps.

    >>> packed_bytes(5, 32), packed_bytes(3, 4)
    (20, 2)
    """
    return (elements * bits + 7) // 8


def shown_shape(dims: list[int]) -> str:
    """Return a shape as a refusal shows it: a hostile one may have countless axes.

    >>> shown_shape([2, 3])
    '(2, 3)'
    """
    return str(tuple(dims)[:_SHOWN_AXES])

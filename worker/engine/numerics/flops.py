"""Multiply-accumulates of matrix products, as functions of shapes alone.

Convolutions count themselves (`Convolution.macs`). Operators without a formula here or there are
not estimated: they are listed as uncounted.
"""

from collections.abc import Sequence
from math import prod


def matmul_macs(a_shape: Sequence[int], b_shape: Sequence[int]) -> int:
    """Return the MACs of `a @ b`, with the axes before the last two broadcast against each other.

    A vector counts as a matrix of one row (`a`) or one column (`b`), as in numpy.matmul, ONNX
    MatMul and torch.matmul. Counted: one per element of the output and element of the axis summed
    over. Not counted: a bias added to the product, copies made to broadcast.

    Args:
        a_shape: `(..., m, k)` or `(k,)`.
        b_shape: `(..., k, n)` or `(k,)`.

    Raises:
        ValueError: a scalar, different sizes of the axis summed over, or axes that do not
            broadcast.

    >>> matmul_macs((25, 64), (64, 10))
    16000
    >>> matmul_macs((8, 1, 5, 7), (3, 7, 2))
    1680
    """
    shapes = f"shapes {tuple(a_shape)} and {tuple(b_shape)}"
    if not a_shape or not b_shape:
        raise ValueError(f"matmul takes no scalars: {shapes}")
    # vectors are matrices of one row on the left, and of one column on the right
    if len(a_shape) == 1:
        a_shape = (1, *a_shape)
    if len(b_shape) == 1:
        b_shape = (*b_shape, 1)
    *a_batch, m, a_inner = a_shape
    *b_batch, b_inner, n = b_shape
    if a_inner != b_inner:
        raise ValueError(f"matmul sums over axes of one size: {shapes}")
    matrices = _broadcast_size(a_batch, b_batch)
    return matrices * m * a_inner * n


def gemm_macs(
    a_shape: Sequence[int],
    b_shape: Sequence[int],
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> int:
    """Return the MACs of a general matrix product `alpha * a @ b + beta * c` of two matrices.

    Counted: those of `a @ b`. Not counted: scaling by alpha and beta, adding `c`.

    Args:
        a_shape: `(m, k)`, or `(k, m)` where `transpose_a`.
        b_shape: `(k, n)`, or `(n, k)` where `transpose_b`.
        transpose_a: whether `a` is transposed before the product.
        transpose_b: whether `b` is transposed before the product.

    Raises:
        ValueError: an operand that is no matrix, or different sizes of the axis summed over.

    >>> gemm_macs((1, 4096), (1000, 4096), transpose_b=True)
    4096000
    """
    if len(a_shape) != 2 or len(b_shape) != 2:
        shapes = f"shapes {tuple(a_shape)} and {tuple(b_shape)}"
        raise ValueError(f"gemm takes two matrices: {shapes}")
    a = a_shape[::-1] if transpose_a else a_shape
    b = b_shape[::-1] if transpose_b else b_shape
    return matmul_macs(a, b)


def _broadcast_size(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the number of elements of two shapes broadcast against each other from their ends."""
    axes = max(len(a), len(b))
    missing_a = axes - len(a)
    padded_a = [1] * missing_a + list(a)
    missing_b = axes - len(b)
    padded_b = [1] * missing_b + list(b)
    sizes = []
    pairs = zip(padded_a, padded_b, strict=True)
    for first, second in pairs:
        if first != second and 1 not in (first, second):
            raise ValueError(
                f"axes broadcast where they are equal or 1: {tuple(a)} and {tuple(b)}"
            )
        # not the maximum: an axis of 1 takes the size 0 of the other
        size = first
        if first == 1:
            size = second
        sizes.append(size)
    return prod(sizes)

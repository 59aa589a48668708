"""SAME padding: as many zeros as make the output `ceil(size / stride)` long along each axis."""

from collections.abc import Sequence


def same_padding(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *,
    upper: bool = True,
) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after each axis of an input of this size.

    An odd zero is put after an axis where `upper` is set, as ONNX's SAME_UPPER and torch's "same"
    do, else before it, as SAME_LOWER does.

    >>> same_padding((5, 8), kernel=(4, 3), stride=(1, 2), dilation=(1, 1))
    ((1, 2), (0, 1))
    >>> same_padding((5,), kernel=(4,), stride=(1,), dilation=(1,), upper=False)
    ((2, 1),)
    """
    pads = []
    for axis, length in enumerate(size):
        span = dilation[axis] * (kernel[axis] - 1) + 1
        outputs = -(-length // stride[axis])
        total = max((outputs - 1) * stride[axis] + span - length, 0)
        pads.append(split_padding(total, upper=upper))
    return tuple(pads)


def split_padding(total: int, *, upper: bool = True) -> tuple[int, int]:
    """Return a total of padding as (before, after); an odd zero is after where `upper` is set.

    >>> split_padding(3), split_padding(3, upper=False)
    ((1, 2), (2, 1))
    """
    less = total // 2
    more = total - less
    if upper:
        return (less, more)
    return (more, less)

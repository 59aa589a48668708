"""Spatial: a kh x kw convolution becomes a kh x 1 and a 1 x kw one, or the other way round.

Source: Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC 2014 (arXiv
1405.3866), scheme 2.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import prod
from typing import TypeVar

from worker.engine.decompose.applicability import transposed
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_low_rank import offset_blocks
from worker.engine.decompose.two_layers import two_layers
from worker.engine.numerics.convolution import Convolution

Value = TypeVar("Value")


def why_not_spatial(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does; depthwise ones it applies to."""
    flat = sum(size > 1 for size in convolution.kernel) < 2
    return transposed(convolution) or (
        "its kernel extends along fewer than two axes" if flat else None
    )


def spatial(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution along its spatial axes, in every way to deal these out to a first and a second layer.

    The weight as a matrix, `c` and the first layer's axes on one side, `n` and the second's on the other, is cut at
    rank r (under the moments: whitened by their mean over the second layer's offsets). Each layer has the kernel,
    stride, padding and dilation of its own axes; those rules of padding that depend on the input's size stay rules,
    for they treat the axes one by one. Exact at rank `min(c kh, n kw)`.

    Cost per output position, where the first layer is the vertical one: `r (c kh s + n kw)` with the second's stride s,
    against `n c kh kw`.

    >>> down, across = spatial(Convolution((8, 4, 3, 5), (2, 1), ((1, 1), (2, 2)), (1, 1)))
    >>> down.variant, across.variant
    ('3x1 then 1x5', '1x5 then 3x1')
    >>> [(made.weight_shape, made.stride, made.padding) for made in down.convolutions(6)]
    [((6, 4, 3, 1), (2, 1), ((1, 1), (0, 0))), ((8, 6, 1, 5), (1, 1), ((0, 0), (2, 2)))]
    """
    extended = [axis for axis, size in enumerate(convolution.kernel) if size > 1]
    return tuple(
        _split(convolution, second)
        for number in range(len(extended) - 1, 0, -1)
        for second in combinations(reversed(extended), number)
    )


def _split(convolution: Convolution, second_axes: tuple[int, ...]) -> Factorisation:
    groups = convolution.groups
    n, c = convolution.out_channels // groups, convolution.in_channels // groups
    first_axes = tuple(axis for axis in range(len(convolution.kernel)) if axis not in second_axes)
    first_kernel, second_kernel = (
        _only(convolution.kernel, axes, 1) for axes in (first_axes, second_axes)
    )

    def geometry(rank: int) -> tuple[Convolution, Convolution]:
        first = _along(convolution, first_axes, (groups * rank, c, *first_kernel))
        return first, _along(convolution, second_axes, (groups * n, rank, *second_kernel))

    return two_layers(
        "spatial",
        " then ".join("x".join(map(str, kernel)) for kernel in (first_kernel, second_kernel)),
        (c * prod(first_kernel), n * prod(second_kernel)),
        partial(offset_blocks, axes=sorted(second_axes)),
        geometry,
    )


def _along(
    convolution: Convolution, axes: tuple[int, ...], weight_shape: tuple[int, ...]
) -> Convolution:
    padding = convolution.padding
    return replace(
        convolution,
        weight_shape=weight_shape,
        stride=_only(convolution.stride, axes, 1),
        padding=padding if isinstance(padding, str) else _only(padding, axes, (0, 0)),
        dilation=_only(convolution.dilation, axes, 1),
    )


def _only(values: Iterable[Value], axes: tuple[int, ...], otherwise: Value) -> tuple[Value, ...]:
    return tuple(value if axis in axes else otherwise for axis, value in enumerate(values))

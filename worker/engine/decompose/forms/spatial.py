"""Spatial: a kh x kw convolution becomes a kh x 1 and a 1 x kw one, or the other way round.

Source: Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC
2014 (arXiv 1405.3866), scheme 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from typing import TypeVar

from worker.engine.decompose.applicability import transposed
from worker.engine.decompose.base import Factorisation
from worker.engine.decompose.block_partition import BlockPartition, offset_blocks
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import TwoLayers
from worker.engine.numerics.convolution import Convolution

Value = TypeVar("Value")


def why_not_spatial(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution; None where it does (depthwise too)."""
    extended = sum(size > 1 for size in convolution.kernel)
    reason = transposed(convolution)
    if reason is None and extended < 2:
        return "its kernel extends along fewer than two axes"
    return reason


def spatial(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution along its spatial axes, in every division into a first and second layer.

    The weight as a matrix, `c` and the first layer's axes on one side, `n` and the second's on the
    other, is cut at rank r (under the moments: whitened by their mean over the second layer's
    offsets). Each layer has the kernel, stride, padding and dilation of its own axes; those rules
    of padding that depend on the input's size stay rules, for they treat the axes one by one. Exact
    at rank `min(c kh, n kw)`.

    Cost per output position, where the first layer is the vertical one: `r (c kh s + n kw)` with
    the second's stride s, against `n c kh kw`.

    >>> down, across = spatial(Convolution((8, 4, 3, 5), (2, 1), ((1, 1), (2, 2)), (1, 1)))
    >>> down.variant, across.variant
    ('3x1 then 1x5', '1x5 then 3x1')
    >>> [(made.weight_shape, made.stride, made.padding) for made in down.convolutions(6)]
    [((6, 4, 3, 1), (2, 1), ((1, 1), (0, 0))), ((8, 6, 1, 5), (1, 1), ((0, 0), (2, 2)))]
    """
    extended = [axis for axis, size in enumerate(convolution.kernel) if size > 1]
    forms: list[Factorisation] = []
    numbers = range(len(extended) - 1, 0, -1)
    for number in numbers:
        last_first = reversed(extended)
        divisions = combinations(last_first, number)
        forms += [Spatial.along(convolution, second_axes) for second_axes in divisions]
    return tuple(forms)


@dataclass(frozen=True)
class Spatial(TwoLayers):
    """Blocks are the offsets along the second layer's axes."""

    first_axes: tuple[int, ...]
    second_axes: tuple[int, ...]

    @classmethod
    def along(cls, convolution: Convolution, second_axes: tuple[int, ...]) -> "Spatial":
        """Return the factorisation whose second layer has these spatial axes."""
        axes = range(len(convolution.kernel))
        first_axes = tuple(axis for axis in axes if axis not in second_axes)
        names = []
        for own_axes in (first_axes, second_axes):
            kernel = _only(convolution.kernel, own_axes, 1)
            sizes = map(str, kernel)
            names.append("x".join(sizes))
        variant = " then ".join(names)
        return cls(convolution, "spatial", variant, first_axes, second_axes)

    @property
    def sides(self) -> tuple[int, int]:
        """Inputs at the first layer's offsets, and outputs at the second's."""
        convolution = self.convolution
        first_kernel = _only(convolution.kernel, self.first_axes, 1)
        first = prod(first_kernel)
        second_kernel = _only(convolution.kernel, self.second_axes, 1)
        second = prod(second_kernel)
        inputs = convolution.group_inputs * first
        outputs = convolution.group_outputs * second
        return inputs, outputs

    def geometry(self, rank: int) -> tuple[Convolution, Convolution]:
        """Return the geometry of the layers along the first and the second axes."""
        convolution = self.convolution
        groups = convolution.groups
        kernel = convolution.kernel
        n = convolution.group_outputs
        c = convolution.group_inputs
        first_shape = (groups * rank, c, *_only(kernel, self.first_axes, 1))
        second_shape = (groups * n, rank, *_only(kernel, self.second_axes, 1))
        return (
            _along(convolution, self.first_axes, first_shape),
            _along(convolution, self.second_axes, second_shape),
        )

    def partition(self, target: Target) -> BlockPartition:
        """Return the offsets along the second layer's axes."""
        return offset_blocks(target, sorted(self.second_axes))


def _along(
    convolution: Convolution, axes: tuple[int, ...], weight_shape: tuple[int, ...]
) -> Convolution:
    """Return a convolution with the stride, padding and dilation of these axes alone."""
    padding = convolution.padding
    if not isinstance(padding, str):
        padding = _only(padding, axes, (0, 0))
    return replace(
        convolution,
        weight_shape=weight_shape,
        stride=_only(convolution.stride, axes, 1),
        padding=padding,
        dilation=_only(convolution.dilation, axes, 1),
    )


def _only(
    values: Iterable[Value], axes: tuple[int, ...], otherwise: Value
) -> tuple[Value, ...]:
    """Return the values of these axes, and `otherwise` for all others."""
    return tuple(
        value if axis in axes else otherwise for axis, value in enumerate(values)
    )

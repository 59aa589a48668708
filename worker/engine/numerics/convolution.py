"""The geometry of a convolution of any dimension: shapes, sizes and multiply-accumulates.

A linear layer is a convolution without spatial axes: kernel `()`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
SamePadding = Literal["same_upper", "same_lower"]
Padding = tuple[tuple[int, int], ...] | SamePadding
"""Zeros before and after each axis, or ONNX's `auto_pad` rules, by the input's size."""


@dataclass(frozen=True)
class Convolution:
    """Geometry of a convolution with weight `(n, c // groups, *kernel)`.

    A transposed one has `(c, n // groups, *kernel)`. Per spatial axis: `stride`, `dilation`,
    `padding` and, for transposed ones, `output_padding`.
    """

    weight_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's size along each spatial axis."""
        return self.weight_shape[2:]

    @property
    def k2(self) -> int:
        """The number of kernel offsets, `kh * kw` in two dimensions."""
        return prod(self.kernel)

    @property
    def out_channels(self) -> int:
        """Output channels, `n` in the literature."""
        if self.transposed:
            return self.weight_shape[1] * self.groups
        return self.weight_shape[0]

    @property
    def in_channels(self) -> int:
        """Input channels over all groups, `c` in the literature."""
        if self.transposed:
            return self.weight_shape[0]
        return self.weight_shape[1] * self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of each group."""
        return self.out_channels // self.groups

    @property
    def group_inputs(self) -> int:
        """Input channels of each group."""
        return self.in_channels // self.groups

    @property
    def patch(self) -> int:
        """The numbers of one group's input that a weight's row multiplies, m in the literature.

        Transposed: the channels of one position.
        """
        if self.transposed:
            return self.group_inputs
        return self.group_inputs * self.k2

    def extent(self, axis: int) -> int:
        """Return the positions along a spatial axis that the dilated kernel extends over."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Return the output's size along each spatial axis.

        >>> Convolution((64, 3, 7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1)).output_size((224, 224))
        (112, 112)
        """
        return tuple(
            self._output_size(axis, size) for axis, size in enumerate(input_size)
        )

    def _output_size(self, axis: int, size: int) -> int:
        stride = self.stride[axis]
        # the rules pad until the kernel size has no influence
        if isinstance(self.padding, str):
            if self.transposed:
                return size * stride
            return -(-size // stride)
        padding = sum(self.padding[axis])
        extent = self.extent(axis)
        if self.transposed:
            full = (size - 1) * stride + extent
            more = self.output_padding[axis]
            return full - padding + more
        return (size + padding - extent) // stride + 1

    def macs(self, input_size: Sequence[int], batch: int = 1) -> int:
        """Return the multiply-accumulates of one call on an input of this spatial size.

        Counted: one per weight and position (output position; input position if transposed),
        padding included. Not counted: the bias.

        >>> Convolution((64, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)).macs((224, 224))
        86704128
        """
        size = input_size
        if not self.transposed:
            size = self.output_size(input_size)
        return batch * prod(size) * prod(self.weight_shape)


@dataclass(frozen=True)
class Layer:
    """A convolution with its weights, of `Convolution.weight_shape`; `bias` is `(n,)` or None."""

    convolution: Convolution
    weight: Array = field(repr=False)
    bias: Array | None = field(repr=False)


def chain_macs(
    convolutions: Sequence[Convolution], input_size: Sequence[int], batch: int = 1
) -> int:
    """Return the multiply-accumulates of a chain of convolutions on an input of this size."""
    total = 0
    size = tuple(input_size)
    for convolution in convolutions:
        total += convolution.macs(size, batch)
        size = convolution.output_size(size)
    return total

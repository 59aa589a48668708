"""The windows of convolutions and pools: stride, dilation, and explicit or SAME padding."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Operator
from worker.engine.numerics.same_padding import same_padding

Pads = tuple[tuple[int, int], ...]
"""Zeros before and after each spatial axis; a negative number crops."""

# torch convolves and pools along at most three axes.
_MOST_AXES = 3


@dataclass(frozen=True)
class Window:
    """The movement of a kernel: stride, dilation and padding per spatial axis."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    rule: str
    explicit: Pads

    @classmethod
    def of(cls, operator: Operator, axes: int) -> "Window":
        """Read the attributes of a node whose kernel has this number of axes."""
        ones = (1,) * axes
        no_pads = (0,) * 2 * axes
        pads = tuple(operator.get("pads", ())) or no_pads
        before = pads[:axes]
        after = pads[axes:]
        stride = tuple(operator.get("strides", ()))
        dilation = tuple(operator.get("dilations", ()))
        explicit = tuple(zip(before, after, strict=True))
        return cls(
            stride=stride or ones,
            dilation=dilation or ones,
            rule=operator.get("auto_pad", "NOTSET") or "NOTSET",
            explicit=explicit,
        )

    @property
    def is_same(self) -> bool:
        """Whether the padding follows from the input's size by a SAME rule."""
        return self.rule in ("SAME_UPPER", "SAME_LOWER")

    @property
    def is_upper(self) -> bool:
        """Whether an odd zero of SAME padding is after the axis."""
        return self.rule == "SAME_UPPER"

    def pads(self, size: Sequence[int], kernel: Sequence[int]) -> Pads:
        """Return the padding for an input of this spatial size."""
        if self.is_same:
            return same_padding(
                size, kernel, self.stride, self.dilation, upper=self.is_upper
            )
        if self.rule == "VALID":
            return ((0, 0),) * len(kernel)
        return self.explicit


def require_axes(operator: Operator) -> None:
    """Leave data with more spatial axes than torch supports to ONNX Runtime."""
    rank = operator.rank
    operator.require(rank is None or 3 <= rank <= 2 + _MOST_AXES)


def pad(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Pad or crop the last axes.

    >>> import torch
    >>> pad(torch.ones(1, 1, 3), ((1, -1),)).tolist()
    [[[0.0, 1.0, 1.0]]]
    """
    # Without padding, the data must not be copied.
    if not has_padding(pads):
        return x
    # torch counts axes from the last one.
    sizes: list[int] = []
    for pair in reversed(pads):
        sizes += pair
    return functional.pad(x, sizes, value=value)


def has_padding(pads: Pads) -> bool:
    """Return whether any axis is padded or cropped."""
    return any(any(pair) for pair in pads)


def symmetric(pads: Pads) -> list[int] | None:
    """Return the padding per axis where both sides are equal and not cropped, else None.

    >>> symmetric(((1, 1), (2, 2))), symmetric(((0, 1),)), symmetric(((-1, -1),))
    ([1, 2], None, None)
    """
    sizes = []
    for before, after in pads:
        if before != after or before < 0:
            return None
        sizes.append(before)
    return sizes

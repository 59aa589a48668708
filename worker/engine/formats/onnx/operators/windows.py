"""What convolutions and pools share: ONNX's paddings along the spatial axes, explicit and by rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Operator

Pads = tuple[tuple[int, int], ...]
"""Zeros before and behind each spatial axis; negative where it is cropped."""

_MOST_AXES = 3
"""Torch convolves and pools along three axes at most."""


@dataclass(frozen=True)
class Window:
    """How a kernel moves: stride, dilation and padding per spatial axis, all of them read from a node."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    rule: str
    explicit: Pads

    @classmethod
    def of(cls, operator: Operator, axes: int) -> "Window":
        """Read the attributes of a node whose kernel has this many axes."""
        ones = (1,) * axes
        pads = tuple(operator.get("pads", ())) or (0,) * 2 * axes
        return cls(
            tuple(operator.get("strides", ())) or ones,
            tuple(operator.get("dilations", ())) or ones,
            operator.get("auto_pad", "NOTSET") or "NOTSET",
            tuple(zip(pads[:axes], pads[axes:], strict=True)),
        )

    def pads(self, size: Sequence[int], kernel: Sequence[int]) -> Pads:
        """Return the padding for an input of this spatial size."""
        if self.rule in ("SAME_UPPER", "SAME_LOWER"):
            needed = (
                max((-(-length // stride) - 1) * stride + dilation * (extent - 1) + 1 - length, 0)
                for length, extent, stride, dilation in zip(
                    size, kernel, self.stride, self.dilation, strict=True
                )
            )
            return tuple(halved(total, self.rule == "SAME_UPPER") for total in needed)
        return ((0, 0),) * len(kernel) if self.rule == "VALID" else self.explicit


def require_axes(operator: Operator) -> None:
    """Leave data with more spatial axes than torch can take to ONNX Runtime."""
    operator.require(operator.rank is None or 3 <= operator.rank <= 2 + _MOST_AXES)


def halved(total: int, upper: bool) -> tuple[int, int]:
    """Split a padding into before and behind; what is left over goes behind where `upper`, else before."""
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """Pad the last axes, or crop them."""
    if not any(any(pair) for pair in pads):
        return x
    return functional.pad(x, [size for pair in reversed(pads) for size in pair], value=value)


def symmetric(pads: Pads) -> list[int] | None:
    """Return the padding per axis where it is the same on both sides, else None."""
    return [before for before, _ in pads] if all(a == b >= 0 for a, b in pads) else None

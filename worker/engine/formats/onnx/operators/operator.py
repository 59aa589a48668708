"""What an entry of the table of operators is made from: one ONNX node, with what is known of it before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Function = Callable[..., Any]
"""Takes the values of all inputs, None for those that are left out; gives a value, or a tuple of several."""


class UnlistedError(Exception):
    """The table has no torch function for this operator, or not for this form of it."""


@dataclass(frozen=True)
class Operand:
    """What is known of an input before the model runs; None for what is not.

    Half-precision is float32 here, as in all that is computed.
    """

    dtype: torch.dtype | None
    rank: int | None
    constant: Any = None


@dataclass(frozen=True)
class Operator:
    """A node of ONNX's own domain: its type, the version of its meaning, its attributes and operands.

    Tensors among the attributes are torch's; `outputs` is the number of outputs that the node names, `wanted` that of
    the first ones that anything takes.
    """

    kind: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]
    outputs: int
    wanted: int

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - integers, texts, tensors and lists of them
        """Return an attribute, or the default where the node leaves it out."""
        return self.attributes.get(name, default)

    @property
    def dtype(self) -> torch.dtype | None:
        """The element type of the first input."""
        return self.inputs[0].dtype if self.inputs and self.inputs[0] else None

    @property
    def rank(self) -> int | None:
        """The number of axes of the first input."""
        return self.inputs[0].rank if self.inputs and self.inputs[0] else None

    def given(self, position: int) -> bool:
        """Return whether the node names an input at this position."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def constant(self, position: int) -> Any:  # noqa: ANN401 - a tensor, mostly
        """Return the value of an input that is known before the model runs, else None."""
        operand = self.inputs[position] if position < len(self.inputs) else None
        return operand.constant if operand else None

    def require(self, condition: bool) -> None:
        """Leave this form of the operator to ONNX Runtime unless a condition holds."""
        if not condition:
            raise UnlistedError(self.kind)

    def require_floats(self) -> None:
        """Leave integers to ONNX Runtime, where torch computes otherwise or not at all with them."""
        self.require(self.dtype is None or self.dtype.is_floating_point)


Builder = Callable[[Operator], Function]
"""Makes an entry's function for one node. Raises UnlistedError for forms of the operator that it does not cover."""


def plain(function: Function) -> Builder:
    """Return the entry of an operator whose function depends on nothing but its inputs."""
    return lambda _: function

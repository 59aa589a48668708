"""An entry of the table of operators: made for one ONNX node from what is known before it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Function = Callable[..., Any]
"""Takes the values of all inputs, None for omitted ones; returns a value, or a tuple of several."""


class UnlistedError(Exception):
    """The table has no torch function for this operator, or not for this form of it."""


@dataclass(frozen=True)
class Operand:
    """An input as it is known before the model runs; None for all that is not known.

    Half precision is float32 here, as in all computation.
    """

    dtype: torch.dtype | None
    rank: int | None
    constant: Any = None


@dataclass(frozen=True)
class Operator:
    """A node of ONNX's own domain: type, version of the opset, attributes and operands.

    Attributes that are tensors are torch's. `outputs` is the number of the node's outputs.
    `used_outputs` is the number of outputs up to the last one that another node needs.
    """

    kind: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[Operand | None, ...]
    outputs: int
    used_outputs: int

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - numbers, texts, tensors, lists
        """Return an attribute, or the default where the node omits it."""
        return self.attributes.get(name, default)

    @property
    def dtype(self) -> torch.dtype | None:
        """The element type of the first input."""
        operand = self._operand(0)
        return operand.dtype if operand else None

    @property
    def rank(self) -> int | None:
        """The number of axes of the first input."""
        operand = self._operand(0)
        return operand.rank if operand else None

    def has_input(self, position: int) -> bool:
        """Return whether the node has an input at this position."""
        return self._operand(position) is not None

    def constant(self, position: int) -> Any:  # noqa: ANN401 - a tensor, mostly
        """Return the value of an input that is known before the model runs, else None."""
        operand = self._operand(position)
        return operand.constant if operand else None

    def require(self, condition: bool) -> None:
        """Leave this form of the operator to ONNX Runtime unless a condition holds.

        Raises:
            UnlistedError: it does not hold.
        """
        if not condition:
            raise UnlistedError(self.kind)

    def require_floats(self) -> None:
        """Leave integers to ONNX Runtime, where torch differs or does not support them.

        Raises:
            UnlistedError: the first input has integers.
        """
        self.require(self.dtype is None or self.dtype.is_floating_point)

    def _operand(self, position: int) -> Operand | None:
        """Return the input at a position; None where the node omits it."""
        if position >= len(self.inputs):
            return None
        return self.inputs[position]


# A builder reads the attributes once; its function runs for every batch.
Builder = Callable[[Operator], Function]
"""Makes an entry's function for one node; raises UnlistedError for forms that it does not cover."""


def without_attributes(function: Function) -> Builder:
    """Return the entry of an operator whose function depends on nothing but its inputs."""
    return lambda _: function

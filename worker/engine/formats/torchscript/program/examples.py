"""Values of one run without data, which settle questions that no input's size changes.

Modules ask for the number of axes, the type or the device of a value to choose a branch. The
answers are the same at every run of a program.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from worker.engine.formats.aten.copy_on_write import NodeCall
from worker.engine.formats.aten.errors import TORCH_ERRORS
from worker.engine.formats.aten.nested_values import map_tensors
from worker.engine.numerics import device

_QUESTIONS = frozenset(
    {
        "aten::dim",
        "aten::is_floating_point",
        "prim::dtype",
        "prim::is_nested",
        "prim::requires_grad",
    }
)


class Examples:
    """Values by name, of shapes and types but without data; not all values have one."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        # A program computes in single precision at least.
        self._values: dict[str, Any] = {
            name: tensor.float()
            if tensor.dtype in (torch.float16, torch.bfloat16)
            else tensor
            for name, tensor in inputs.items()
        }

    def answer(
        self,
        kind: str,
        call: NodeCall,
        takes: Sequence[str],
        constants: Mapping[str, Any],
    ) -> Any:  # noqa: ANN401 - whatever flows through the graph
        """Return the content that the output of a question has at every run, else None."""
        if kind == "aten::is_grad_enabled":
            return False
        if kind == "prim::device":
            return torch.device(device.chosen())
        if kind not in _QUESTIONS:
            return None
        results = self._results(call, takes, constants)
        if results is None:
            return None
        return results[0]

    def note(
        self,
        call: NodeCall,
        takes: Sequence[str],
        gives: Sequence[str],
        constants: Mapping[str, Any],
    ) -> None:
        """Note the results of a step, where its arguments and an operator without data allow it."""
        results = self._results(call, takes, constants)
        if results is not None:
            self._values.update(zip(gives, results, strict=True))

    def _results(
        self, call: NodeCall, takes: Sequence[str], constants: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        if any(name not in self._values and name not in constants for name in takes):
            return None
        arguments = [self._values.get(name, constants.get(name)) for name in takes]
        try:
            with torch.no_grad():
                return call(
                    *(map_tensors(argument, _without_data) for argument in arguments)
                )
        except (*TORCH_ERRORS, NotImplementedError):
            return None


def _without_data(tensor: Tensor) -> Tensor:
    return tensor.to("meta")

"""A rule to count an operator that is no layer: what it depends on, its cost, and why it stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from worker.engine.formats.onnx.graph import input_name
from worker.engine.formats.onnx.shapes import Shape

Macs = Callable[[NodeProto, Sequence[Shape | None]], int]
"""The cost by the shapes of operands, in the order of a rule; None for one that is omitted.

Raises ValueError for shapes that do not fit the operator.
"""

RECURRENT = "recurrent layers are not factored"
DEFORMED = "its kernel is offset at run time"
PRODUCT = "it is a product of activations"
FUSED = "it is fused with what follows it, in a way that cannot be taken apart"
REORDERED = "its weight is ordered for one processor; give the model from before the optimisation"
EINSUM = "it is an Einsum"
DEPTHWISE = "it is a depthwise convolution with a state"
EXPERTS = "its input selects which of its layers run"
TABLE = "its weights are attributes"


@dataclass(frozen=True)
class CountingRule:
    """The positions of the inputs and outputs whose shapes decide a cost.

    The first `required` inputs are needed, the others may be omitted. `weight` is the position of
    the input that names the site where it is stored.
    """

    macs: Macs
    reason: str
    inputs: Sequence[int] = (0, 1)
    required: int = 2
    outputs: Sequence[int] = ()
    weight: int = 1

    def operands(self, node: NodeProto) -> list[str]:
        """Return the names of the inputs and outputs, the empty name for an omitted one."""
        outputs = list(node.output)
        produced = [
            outputs[place] if place < len(outputs) else "" for place in self.outputs
        ]
        return [input_name(node, place) for place in self.inputs] + produced

    def is_complete(self, node: NodeProto) -> bool:
        """Return whether a node has all operands that the cost needs."""
        operands = self.operands(node)
        needed = operands[: self.required] + operands[len(self.inputs) :]
        return all(needed)

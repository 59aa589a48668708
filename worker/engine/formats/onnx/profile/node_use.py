"""A node in its place in a graph, with everything that its cost depends on."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import NodeProto

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import operator
from worker.engine.formats.onnx.profile.counting_rule import CountingRule
from worker.engine.formats.onnx.profile.other_macs import OTHER_OPERATORS, rule_of
from worker.engine.formats.onnx.shapes import Shape, Shapes

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that can be sites to be replaced."""

OPERATORS = frozenset((*LAYERS, *OTHER_OPERATORS))
"""All operators with multiply-accumulates that are counted."""


@dataclass(frozen=True)
class NodeUse:
    """A node in its place in a graph.

    `weight` is the constant that is the node's second operand, if any. `shapes` and `constants`
    hold what is known there. `runs` is how often the node runs, None where that is not known.
    `reason` says why the node cannot be replaced, None where it can. `sized_by_values` says whether
    values of the model's inputs may decide its cost.
    """

    node: NodeProto
    weight: Constant | None
    shapes: Shapes
    constants: Mapping[str, Constant]
    runs: int | None
    reason: str | None
    sized_by_values: bool = False

    @property
    def operator(self) -> str:
        """The operator's name, with the domain where it is not ONNX's own."""
        return operator(self.node)

    @property
    def label(self) -> str:
        """The node as messages name it."""
        return f"{self.node.op_type} {self.node.name or self.node.output[0]!r}"

    @property
    def operand_shapes(self) -> list[Shape] | None:
        """The shapes that the cost of a layer follows from; None where it cannot be counted."""
        # No operands means that there is nothing to count.
        operands = cost_operands(self.node)
        if not operands:
            return None
        shapes = []
        for name in operands:
            shape = self.shapes.get(name)
            if shape is None:
                return None
            shapes.append(shape)
        return shapes

    @property
    def rule(self) -> CountingRule | None:
        """The counting rule of an operator that is no layer."""
        return rule_of(self.operator, self.node)

    def rule_shapes(self, rule: CountingRule) -> list[Shape | None]:
        """Return the shapes of a rule's operands; None for those that the node omits."""
        return [
            self.shapes.get(name) if name else None for name in rule.operands(self.node)
        ]


def cost_operands(node: NodeProto) -> list[str]:
    """Return the values whose shapes decide the cost of a node; none where it is not counted.

    >>> cost_operands(NodeProto(op_type="Conv", input=["x", "w", "b"]))
    ['x', 'w']
    >>> cost_operands(NodeProto(op_type="Relu", input=["x"]))
    []
    """
    kind = operator(node)
    rule = rule_of(kind, node)
    if rule is not None and rule.is_complete(node):
        return [name for name in rule.operands(node) if name]
    if kind in LAYERS and len(node.input) >= 2:
        first_two = node.input[:2]
        return list(first_two)
    return []

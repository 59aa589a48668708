"""The operators that an account leaves out although they may have multiply-accumulates.

An operator needs a counting rule, unless it is known to have no products, or has no weights: no
constant operand of two or more axes.
"""

from collections.abc import Iterable

from onnx import NodeProto

from worker.engine.formats.onnx.graph import OWN_DOMAINS, operator
from worker.engine.formats.onnx.profile.node_site import CountedNode
from worker.engine.formats.onnx.profile.node_use import OPERATORS, NodeUse
from worker.engine.formats.onnx.profile.without_products import WITHOUT_PRODUCTS
from worker.engine.model import UnaccountedOperator

NO_RULE = "there is no rule to count this operator"
UNKNOWN_RUNS = "it lies in a loop of unknown length"
UNKNOWN_SHAPE = "the shapes of its operands are not known before it runs"

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
# All operators of these domains are known here: one without a rule may have products.
_KNOWN_DOMAINS = frozenset({*OWN_DOMAINS, "com.microsoft", "com.microsoft.nchwc"})
_LEAST_AXES = 2
_LEAST_FACTORS = 2


def unaccounted_operators(
    paths: Iterable[Iterable[CountedNode]],
) -> tuple[UnaccountedOperator, ...]:
    """Return the operators along all execution paths that are not counted and may have products."""
    operators: dict[str, UnaccountedOperator] = {}
    for nodes in paths:
        for counted in nodes:
            reason = _why_unaccounted(counted)
            if reason is None:
                continue
            name = _name(counted.use.node)
            operators.setdefault(
                name, UnaccountedOperator(name, counted.use.operator, reason)
            )
    return tuple(operators.values())


def _why_unaccounted(counted: CountedNode) -> str | None:
    """Return why a node's products are not counted; None where they are, or where it has none."""
    use = counted.use
    if counted.site is not None or use.runs == 0:
        return None
    # An Einsum of one operand multiplies nothing.
    if use.operator == "Einsum" and len(use.node.input) < _LEAST_FACTORS:
        return None
    if use.operator in OPERATORS:
        return UNKNOWN_RUNS if use.runs is None else UNKNOWN_SHAPE
    if use.operator in WITHOUT_PRODUCTS or use.operator in _CONTROL_FLOW:
        return None
    if use.node.domain in _KNOWN_DOMAINS or _has_weights(use):
        return NO_RULE
    return None


def _has_weights(use: NodeUse) -> bool:
    """Return whether an operand of a node is a constant of two or more axes."""
    operands = [use.constants[name] for name in use.node.input if name in use.constants]
    return any(len(constant.shape) >= _LEAST_AXES for constant in operands)


def _name(node: NodeProto) -> str:
    """Return a node's name, or its first output where it has none."""
    outputs = [name for name in node.output if name]
    return node.name or next(iter(outputs), operator(node))

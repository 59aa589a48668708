"""The number of times that a node's subgraphs run, where the graph fixes it."""

from collections.abc import Mapping
from types import MappingProxyType

from onnx import GraphProto, NodeProto, TensorProto, helper

from worker.engine.formats.onnx.constants import Constant
from worker.engine.formats.onnx.graph import (
    all_nodes,
    integer,
    integers,
    operator,
    subgraphs,
)
from worker.engine.formats.onnx.scalars import scalar
from worker.engine.formats.onnx.shapes import Shapes


def trip_count(
    node: NodeProto,
    known: Mapping[str, Constant],
    shapes: Shapes,
    lengths: Mapping[str, int] = MappingProxyType({}),
) -> int | None:
    """Return the runs of a node's subgraphs in one run of the node; None where not fixed.

    1. Each branch of an If runs once, as far as this function goes.
    2. The body of a Loop runs as often as its trip count says, where that is a constant and nothing
       ends the loop sooner: its condition is missing or constantly true, and the body passes it on
       or returns true. Otherwise `lengths` may have its length, by its first output.
    3. The body of a Scan runs once per element along the axis that it scans.
    4. For all other bodies (SequenceMap) the number is not known.

    `known` holds the constants of the graph and of its bodies.

    >>> from onnx import helper
    >>> trip_count(helper.make_node("If", ["condition"], ["y"]), {}, {})
    1
    >>> trip_count(helper.make_node("Loop", ["limit"], ["y"]), {}, {}) is None
    True
    """
    kind = operator(node)
    if kind == "If":
        return 1
    if kind == "Scan":
        return _scan_length(node, shapes)
    if kind != "Loop" or len(node.input) < 2:
        return None
    if node.output and node.output[0] in lengths:
        return lengths[node.output[0]]
    limit, condition = node.input[:2]
    if condition and not scalar(condition, known):
        return None
    body = next(subgraphs(node), None)
    if body is None or not _never_ends_itself(body, known):
        return None
    trips = scalar(limit, known)
    # Below 0 it does not run.
    return None if trips is None else max(trips, 0)


def true_conditions(graph: GraphProto) -> dict[str, Constant]:
    """Return the conditions that the bodies of a graph's loops get, which are true while they run.

    A loop within a loop often takes that of the outer one as its own first condition.
    """
    truth = helper.make_tensor("", TensorProto.BOOL, [], [True])
    conditions = {}
    for node in all_nodes(graph.node):
        if operator(node) != "Loop":
            continue
        for body in subgraphs(node):
            for value in body.input[1:2]:
                conditions[value.name] = Constant(truth, value.name)
    return conditions


def _scan_length(node: NodeProto, shapes: Shapes) -> int | None:
    """Return the number of elements that a Scan scans; None where it is not known."""
    scanned = integer(node, "num_scan_inputs", 0)
    body = next(subgraphs(node), None)
    # Before opset 9 the node has one input more than its body, and a batch.
    inputs = len(node.input)
    if body is None or len(body.input) != inputs:
        return None
    if not 1 <= scanned <= inputs:
        return None
    shape = shapes.get(node.input[-scanned])
    axes = integers(node, "scan_input_axes") or (0,)
    axis = axes[0]
    if shape is None:
        return None
    rank = len(shape)
    if not -rank <= axis < rank:
        return None
    return shape[axis]


def _never_ends_itself(body: GraphProto, known: Mapping[str, Constant]) -> bool:
    """Return whether a Loop's body passes its condition on, or returns a constant truth.

    `known` holds the constants of the body and of the graphs around it.
    """
    if len(body.input) < 2 or not body.output:
        return False
    condition = body.output[0].name
    same = {body.input[1].name}
    for node in body.node:
        if operator(node) != "Identity":
            continue
        has_one_value = len(node.input) == len(node.output) == 1
        if not has_one_value:
            continue
        if node.input[0] in same or scalar(node.input[0], known):
            same.add(node.output[0])
    if condition in same:
        return True
    return bool(scalar(condition, known))

"""How often a subgraph of an ONNX node runs, where the graph itself fixes it."""

from collections.abc import Mapping
from math import prod

from onnx import GraphProto, NodeProto

from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import integer, integers, operator, subgraphs


def trips(
    node: NodeProto, fixed: Mapping[str, Constant], shapes: Mapping[str, tuple[int, ...] | None]
) -> int | None:
    """Return how often the subgraphs of a node run when the node runs once; None where that is not fixed.

    1. Each branch of an If runs, as far as this goes.
    2. The body of a Loop runs as often as its trip count says, where that is a constant and nothing ends it sooner:
       its condition is left out or constantly true, and the body passes it on or says true again.
    3. The body of a Scan runs once for each element of what it scans, along the axis that it scans.
    4. How often other bodies run (SequenceMap) is not told.
    """
    if operator(node) == "If":
        return 1
    if operator(node) == "Scan":
        return _scanned(node, shapes)
    if operator(node) != "Loop" or len(node.input) < 2:
        return None
    if node.input[1] and not _scalar(node.input[1], fixed):
        return None
    body = next(subgraphs(node), None)
    if body is None or len(body.input) < 2 or not body.output or not _goes_on(body):
        return None
    return _scalar(node.input[0], fixed)


def _scanned(node: NodeProto, shapes: Mapping[str, tuple[int, ...] | None]) -> int | None:
    number, body = integer(node, "num_scan_inputs", 0), next(subgraphs(node), None)
    if body is None or len(body.input) != len(node.input) or not 1 <= number <= len(node.input):
        return None  # before opset 9 there is one input more, and a batch
    shape = shapes.get(node.input[-number])
    axis = (integers(node, "scan_input_axes") or (0,))[0]
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None


def _goes_on(body: GraphProto) -> bool:
    condition = body.output[0].name
    same = {body.input[1].name}
    for node in body.node:
        if (
            operator(node) == "Identity"
            and len(node.input) == len(node.output) == 1
            and node.input[0] in same
        ):
            same.add(node.output[0])
    return condition in same or bool(_scalar(condition, constants(body)))


def _scalar(name: str, fixed: Mapping[str, Constant]) -> int | None:
    """Return a constant that is one integer or truth value."""
    constant = fixed.get(name)
    if constant is None or constant.steps or prod(constant.tensor.dims) != 1:
        return None
    tensor = constant.tensor
    if tensor.raw_data:
        return int.from_bytes(tensor.raw_data, "little", signed=True)
    return next(iter((*tensor.int64_data, *tensor.int32_data)), None)

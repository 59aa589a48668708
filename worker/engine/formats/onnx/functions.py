"""Local functions of ONNX models: replace the calls of those that hold layers by their nodes.

A node of a function stands for one layer a call, but only a single layer can be factored. All other
functions stay. So do those that are called several times and hold large weights: every call would
have a copy.
"""

from collections import Counter
from collections.abc import Iterator

from onnx import FunctionProto, ModelProto, NodeProto, checker, inliner

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.graph import all_nodes, function_tensors, operator
from worker.engine.formats.onnx.storage.skeleton import LARGE_TENSOR_BYTES

FunctionId = tuple[str, str]
"""A function's domain and name."""


def inline_functions_with(model: ModelProto, operators: frozenset[str]) -> ModelProto:
    """Return a model without the local functions that lead to one of these operators.

    The model itself is returned where it has none.

    Raises:
        Refusal: `model_invalid` where functions call themselves.
    """
    # Calls from functions count too: inlining copies them.
    call_counts: Counter[FunctionId] = Counter()
    for nodes in _all_bodies(model):
        call_counts.update(_function_id(node) for node in nodes)
    large = {
        _id_of(function) for function in model.functions if _has_large_tensor(function)
    }
    selected = [
        function
        for function in sorted(_leading_to(model, operators))
        if function not in large or call_counts[function] == 1
    ]
    if not selected:
        return model
    return _inline(model, selected)


def _leading_to(model: ModelProto, operators: frozenset[str]) -> set[FunctionId]:
    """Return the functions that have one of these operators, or call a function that has."""
    bodies = {
        _id_of(function): list(all_nodes(function.node)) for function in model.functions
    }
    leading: set[FunctionId] = set()
    for function, nodes in bodies.items():
        if any(operator(node) in operators for node in nodes):
            leading.add(function)
    # Callers of callers are found in later rounds.
    grows = True
    while grows:
        callers = set()
        for function in bodies.keys() - leading:
            if any(_function_id(node) in leading for node in bodies[function]):
                callers.add(function)
        leading |= callers
        grows = bool(callers)
    return leading


def inline_all_functions(model: ModelProto) -> ModelProto:
    """Return a model without local functions; itself where it has none.

    Raises:
        Refusal: `model_invalid` where functions call themselves.
    """
    if not model.functions:
        return model
    return _inline(model, None)


def _inline(model: ModelProto, selected: list[FunctionId] | None) -> ModelProto:
    """Inline the selected functions; None stands for all."""
    try:
        if selected is None:
            return inliner.inline_local_functions(model)
        return inliner.inline_selected_functions(model, selected)
    except (checker.ValidationError, RuntimeError) as error:
        raise Refusal(
            Code.MODEL_INVALID,
            f"the model's local functions cannot be inlined: {error}",
            field=FIELD,
            expected="a graph that follows ONNX's rules",
            got="a graph that does not",
        ) from error


def _all_bodies(model: ModelProto) -> Iterator[list[NodeProto]]:
    """Yield the nodes of the main graph, and those of each local function."""
    yield list(all_nodes(model.graph.node))
    for function in model.functions:
        yield list(all_nodes(function.node))


def _function_id(node: NodeProto) -> FunctionId:
    """Return the function that a node calls, if its operator is one."""
    return node.domain, node.op_type


def _id_of(function: FunctionProto) -> FunctionId:
    return function.domain, function.name


def _has_large_tensor(function: FunctionProto) -> bool:
    """Return whether a function holds data that no copy should be made of."""
    tensors = function_tensors(function)
    return any(tensor.ByteSize() >= LARGE_TENSOR_BYTES for tensor in tensors)

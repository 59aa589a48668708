"""Local functions of ONNX models: the calls of those that hold layers are replaced by what they call.

A layer can only be factored where it stands for itself; a function's node stands for one layer a call. All other
functions
stay as they are, and so do those that are called several times and carry weights: every call would have a copy.
"""

from collections import Counter
from collections.abc import Iterator

from onnx import FunctionProto, ModelProto, NodeProto, checker, inliner

from convpress.formats import FIELD
from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.file import LIFTED_BYTES
from worker.engine.formats.onnx.graph import all_nodes, function_tensors, operator

Id = tuple[str, str]
"""A function's domain and name."""


def with_inlined(model: ModelProto, operators: frozenset[str]) -> ModelProto:
    """Return a model without those local functions that lead to one of these operators; itself if there are none.

    Raises:
        Refusal: `model_invalid` where they cannot be inlined: they call themselves.
    """
    calls = Counter(_called(node) for nodes in _all_bodies(model) for node in nodes)
    bodies = {
        (function.domain, function.name): list(all_nodes(function.node))
        for function in model.functions
    }
    leading = {
        name for name, nodes in bodies.items() if any(operator(node) in operators for node in nodes)
    }
    while more := {
        name
        for name in bodies.keys() - leading
        if any(_called(node) in leading for node in bodies[name])
    }:
        leading |= more
    carrying = {
        (function.domain, function.name) for function in model.functions if _carries(function)
    }
    wanted = sorted(name for name in leading if name not in carrying or calls[name] == 1)
    return _inlined(model, wanted) if wanted else model


def without_functions(model: ModelProto) -> ModelProto:
    """Return a model in which every call of a local function is replaced; itself if there are none.

    Raises:
        Refusal: `model_invalid` where they cannot be inlined: they call themselves.
    """
    return _inlined(model, None) if model.functions else model


def _inlined(model: ModelProto, wanted: list[Id] | None) -> ModelProto:
    try:
        if wanted is None:
            return inliner.inline_local_functions(model)
        return inliner.inline_selected_functions(model, wanted)
    except (checker.ValidationError, RuntimeError) as error:
        raise Refusal(
            Code.MODEL_INVALID,
            f"the model's local functions cannot be inlined: {error}",
            field=FIELD,
            expected="a graph that keeps to ONNX's rules",
            got="a graph that does not",
        ) from error


def _all_bodies(model: ModelProto) -> Iterator[list[NodeProto]]:
    yield list(all_nodes(model.graph.node))
    for function in model.functions:
        yield list(all_nodes(function.node))


def _called(node: NodeProto) -> Id:
    return node.domain, node.op_type


def _carries(function: FunctionProto) -> bool:
    return any(tensor.ByteSize() >= LIFTED_BYTES for tensor in function_tensors(function))

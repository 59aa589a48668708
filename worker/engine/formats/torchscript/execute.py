"""Run one node of a TorchScript graph by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._C import Node, Value
from torch.jit._fuser import optimized_execution

from worker.engine.formats.torchscript.graph import nodes_within
from worker.engine.formats.torchscript.operators import is_dispatched, operator_name
from worker.engine.program import NoProgramError

NodeCall = Callable[..., tuple[Any, ...]]
"""Computes a node's outputs from the values that it captures."""

# Code of the file's own, which does not run by the nodes of this graph.
_OTHER_CODE = frozenset(
    {
        "prim::CallFunction",
        "prim::CallMethod",
        "prim::Closure",
        "prim::CreateObject",
        "prim::awaitable",
        "prim::fork",
        "prim::rpc_async",
    }
)
_SEQUENCES: dict[str, type] = {"prim::ListConstruct": list, "prim::TupleConstruct": tuple}

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def node_call(node: Node, values: Sequence[Value], returned: Sequence[int] = ()) -> NodeCall:
    """Return a function from the values that a node captures, in this order, to its outputs.

    After the outputs come the captured values at the positions `returned`, as they are once the
    node has run. Lists are passed as copies.

    Raises:
        NoProgramError: it is no operator of torch's own.
    """
    for inner in nodes_within(node):
        namespace = inner.kind().partition("::")[0]
        if namespace not in ("aten", "prim") or inner.kind() in _OTHER_CODE:
            raise NoProgramError(f"it calls {inner.kind()}, which is no operator of torch's own")
    sequence = _SEQUENCES.get(node.kind())
    if sequence is not None and "NamedTuple" not in str(node.output().type()):
        return _construction(sequence, node, values)
    if returned or not is_dispatched(*operator_name(node)):
        return _interpreted(node, values, returned)
    return _operator_call(node, values)


def _construction(sequence: type, node: Node, values: Sequence[Value]) -> NodeCall:
    positions = _positions(node, values)
    return lambda *contents: (sequence(contents[position] for position in positions),)


def _operator_call(node: Node, values: Sequence[Value]) -> NodeCall:
    """Call an operator on tensors directly."""
    name, overload = operator_name(node)
    operator = _C._get_operation_overload(name, overload)[0]
    arguments = _C._get_schema(name, overload).arguments
    keywords = [argument.name for argument in arguments if argument.kwarg_only]
    positions = _positions(node, values)
    # A schema lists the arguments that only keywords pass last.
    first_keyword = len(positions) - len(keywords)
    positional, named = positions[:first_keyword], positions[first_keyword:]
    outputs = node.outputsSize()

    def call(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        ordered = [contents[position] for position in positional]
        by_keyword = {
            keyword: contents[position] for keyword, position in zip(keywords, named, strict=True)
        }
        result = operator(*ordered, **by_keyword)
        if outputs == 1:
            return (result,)
        return tuple(result or ())

    return call


def _interpreted(node: Node, values: Sequence[Value], returned: Sequence[int]) -> NodeCall:
    """Make a function of the node with all that is inside it, for torch's interpreter to run."""
    graph = _C.Graph()
    inner: dict[int, Value] = {}
    for value in values:
        inner[value.unique()] = _add_input(graph, value.type())
    clone = graph.insertNode(graph.createClone(node, lambda value: inner[value.unique()]))
    outputs = list(clone.outputs())
    outputs += [inner[values[index].unique()] for index in returned]
    packed = graph.insertNode(graph.create("prim::TupleConstruct", outputs, 1)).output()
    packed.setType(_C.TupleType([output.type() for output in outputs]))
    graph.registerOutput(packed)
    function = _C._create_function_from_graph("step", graph)

    def call(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        # The optimising executor would specialise to the first shapes that it sees.
        with optimized_execution(False):
            results: tuple[Any, ...] = function(*contents)
        return results

    return call


def _add_input(graph: Any, kind: Any) -> Value:  # noqa: ANN401 - not in torch's stubs
    """Add an input of any type that also takes None, the result of a branch that was not taken."""
    value = graph.addInput()
    if kind.kind() in ("NoneType", "OptionalType"):
        value.setType(kind)
        return value  # type: ignore[no-any-return]  # as above
    value.setType(_C.OptionalType(kind))
    cast = graph.insertNode(graph.create("prim::unchecked_cast", [value], 1)).output()
    cast.setType(kind)
    return cast  # type: ignore[no-any-return]  # as above


def _positions(node: Node, values: Sequence[Value]) -> tuple[int, ...]:
    """Return the position of each input of the node among the values that it captures."""
    order = {value.unique(): index for index, value in enumerate(values)}
    return tuple(order[value.unique()] for value in node.inputs())

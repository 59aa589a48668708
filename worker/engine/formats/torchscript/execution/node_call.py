"""Run one node of a TorchScript graph by itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch._C import Node, Value
from torch.jit._fuser import optimized_execution

from worker.engine.formats.aten.copy_on_write import NodeCall
from worker.engine.formats.torchscript.graph import nodes_within
from worker.engine.formats.torchscript.operators import is_dispatched, operator_name
from worker.engine.program import NoProgramError

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
_SEQUENCES: dict[str, type] = {
    "prim::ListConstruct": list,
    "prim::TupleConstruct": tuple,
}

# These take an unbatched volume, whose four axes calibration lays out as those of images are.
_TAKE_PLAIN_LAYOUT = frozenset({"aten::max_pool3d", "aten::max_pool3d_with_indices"})

_C: Any = torch._C  # most of these functions are missing from torch's stubs


def node_call(
    node: Node, values: Sequence[Value], returned: Sequence[int] = ()
) -> NodeCall:
    """Return a function from the values that a node captures, in this order, to its outputs.

    After the outputs come the captured values at the positions `returned`, as they are once the
    node has run. Lists are passed as copies.

    Raises:
        NoProgramError: it is no operator of torch's own.
    """
    for inner in nodes_within(node):
        kind = inner.kind()
        is_torchs = kind.startswith(("aten::", "prim::"))
        if not is_torchs or kind in _OTHER_CODE:
            raise NoProgramError(
                f"it calls {kind}, which is no operator of torch's own"
            )
    sequence = _SEQUENCES.get(node.kind())
    if sequence is not None and not _is_named_tuple(node.output()):
        return _construction(sequence, node, values)
    name, overload = operator_name(node)
    if returned or not is_dispatched(name, overload):
        return _interpreted(node, values, returned)
    return _operator_call(node, values)


def _is_named_tuple(value: Value) -> bool:
    """Whether a value is of a class of named tuples, which only the interpreter can make."""
    return "NamedTuple" in str(value.type())


def _construction(sequence: type, node: Node, values: Sequence[Value]) -> NodeCall:
    """Return a call that makes a list or tuple of the values that a node takes."""
    positions = _positions(node, values)

    def call(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        items = [contents[position] for position in positions]
        return (sequence(items),)

    return call


def _operator_call(node: Node, values: Sequence[Value]) -> NodeCall:
    """Call an operator on tensors directly, without TorchScript's interpreter."""
    name, overload = operator_name(node)
    operator, *_ = _C._get_operation_overload(name, overload)
    schema = _C._get_schema(name, overload)
    keywords = [argument.name for argument in schema.arguments if argument.kwarg_only]
    positions = _positions(node, values)
    # A schema lists the arguments that only keywords pass last.
    first_keyword = len(positions) - len(keywords)
    positional = positions[:first_keyword]
    named = positions[first_keyword:]
    outputs = node.outputsSize()

    def call(*contents: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        ordered = [contents[position] for position in positional]
        if name in _TAKE_PLAIN_LAYOUT:
            ordered[0] = ordered[0].contiguous()
        others = [contents[position] for position in named]
        by_keyword = dict(zip(keywords, others, strict=True))
        result = operator(*ordered, **by_keyword)
        if outputs == 1:
            return (result,)
        return tuple(result or ())

    return call


def _interpreted(
    node: Node, values: Sequence[Value], returned: Sequence[int]
) -> NodeCall:
    """Make a function of the node with all that is inside it, for torch's interpreter to run."""
    graph = _C.Graph()
    inputs = [_add_input(graph, value.type()) for value in values]
    pairs = zip(values, inputs, strict=True)
    inner = {value.unique(): own for value, own in pairs}
    clone = graph.createClone(node, lambda value: inner[value.unique()])
    graph.insertNode(clone)
    outputs = list(clone.outputs())
    outputs += [inputs[position] for position in returned]
    packing = graph.create("prim::TupleConstruct", outputs, 1)
    graph.insertNode(packing)
    packed = packing.output()
    types = [output.type() for output in outputs]
    tuple_type = _C.TupleType(types)
    packed.setType(tuple_type)
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
    takes_none = kind.kind() in ("NoneType", "OptionalType")
    if takes_none:
        value.setType(kind)
        return value  # type: ignore[no-any-return]  # as above
    optional = _C.OptionalType(kind)
    value.setType(optional)
    conversion = graph.create("prim::unchecked_cast", [value], 1)
    graph.insertNode(conversion)
    cast = conversion.output()
    cast.setType(kind)
    return cast  # type: ignore[no-any-return]  # as above


def _positions(node: Node, values: Sequence[Value]) -> tuple[int, ...]:
    """Return the position of each input of the node among the values that it captures."""
    numbered = enumerate(values)
    order = {value.unique(): index for index, value in numbered}
    positions = [order[value.unique()] for value in node.inputs()]
    return tuple(positions)

"""Running one node of a TorchScript graph by itself, without ever writing into what it is given."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._C import Block, Node, Value
from torch.jit._fuser import optimized_execution

from worker.engine.program import NoProgramError

Call = Callable[..., tuple[Any, ...]]

_C: Any = torch._C  # much of what is asked here is not in torch's stubs


def within(node: Node) -> Iterator[Node]:
    """Yield a node and the nodes of its branches and loop bodies."""
    yield node
    for block in node.blocks():
        for inner in block.nodes():
            yield from within(inner)


def captured(node: Node) -> list[Value]:
    """Return the values from outside that a node needs, each once: its own inputs first, then those of its blocks."""
    found = {value.unique(): value for value in node.inputs()}
    inside: set[int] = set()

    def look(block: Block) -> None:
        inside.update(value.unique() for value in block.inputs())
        for inner in block.nodes():
            found.update(
                (value.unique(), value) for value in inner.inputs() if value.unique() not in inside
            )
            for deeper in inner.blocks():
                look(deeper)
            inside.update(value.unique() for value in inner.outputs())
        found.update(
            (value.unique(), value) for value in block.outputs() if value.unique() not in inside
        )

    for block in node.blocks():
        look(block)
    return list(found.values())


def written(node: Node) -> list[Value]:
    """Return the values that a node, or one inside it, writes into."""
    return [inner.inputsAt(index) for inner in within(node) for index in _written(*_name(inner))]


def is_random(node: Node) -> bool:
    """Whether two runs of a node on the same values differ."""
    return any(_is_random(*_name(inner)) for inner in within(node))


def argument_names(node: Node) -> tuple[str, ...]:
    """Return what the operator calls its arguments; nothing for a branch or a loop."""
    return _argument_names(*_name(node))


def call(node: Node, values: Sequence[Value], returned: Sequence[int] = ()) -> Call:
    """Return what computes a node's outputs from the values that it captures, in the order of `values`.

    Behind the outputs come the captured values at the positions `returned`, as they are after the node has run: lists
    are handed over as copies.

    Raises:
        NoProgramError: it is no operator of torch's own.
    """
    for inner in within(node):
        if inner.kind().partition("::")[0] not in ("aten", "prim") or inner.kind() in _CODE:
            raise NoProgramError(f"it calls {inner.kind()}, which is no operator of torch's own")
    if node.kind() in ("prim::ListConstruct", "prim::TupleConstruct") and "NamedTuple" not in str(
        node.output().type()
    ):
        return _construct(list if node.kind() == "prim::ListConstruct" else tuple, node, values)
    name, overload = _name(node)
    if returned or not _is_dispatched(name, overload):
        return _function(node, values, returned)
    return _operator(node, values)


def writing(inner: Call, takes: int, targets: Sequence[int], kept: Sequence[int]) -> Call:
    """Return a call that runs in a private copy of the memory of the values at the positions `targets`.

    The first `takes` values are those of the inner call. Behind its results come the values at the positions `kept`,
    those that lie in the copied memory as they now lie in the copy.

    Raises:
        NoProgramError: when it is called on values whose memory cannot be copied as a whole.
    """

    def run(*values: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        private = _private(values, [values[index] for index in targets])
        return (*inner(*private[:takes]), *(private[index] for index in kept))

    return run


# Code of the file's own that runs in another way than by the nodes of this graph.
_CODE = frozenset(
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


def _name(node: Node) -> tuple[str, str]:
    """Return the operator's name and overload; two empty ones for a node that is no operator."""
    schema = node.schema()
    if "(" not in schema or schema.startswith("("):
        return "", ""
    name, _, overload = schema.partition("(")[0].partition(".")
    return name, overload


@cache
def _written(name: str, overload: str) -> tuple[int, ...]:
    arguments = _C._get_schema(name, overload).arguments if name else ()
    return tuple(
        index
        for index, item in enumerate(arguments)
        if item.alias_info is not None and item.alias_info.is_write
    )


@cache
def _argument_names(name: str, overload: str) -> tuple[str, ...]:
    return tuple(item.name for item in _C._get_schema(name, overload).arguments) if name else ()


@cache
def _is_dispatched(name: str, overload: str) -> bool:
    """Whether it is an operator on tensors, one that torch's dispatcher knows, rather than one of TorchScript alone."""
    try:
        _C._dispatch_find_schema_or_throw(name, overload)
    except RuntimeError:
        return False
    return True


@cache
def _is_random(name: str, overload: str) -> bool:
    if not name or not _is_dispatched(name, overload):
        return False
    return torch.Tag.nondeterministic_seeded in _C._get_operation_overload(name, overload)[2]


def _construct(kind: type, node: Node, values: Sequence[Value]) -> Call:
    places = _places(node, values)
    return lambda *given: (kind(given[place] for place in places),)


def _operator(node: Node, values: Sequence[Value]) -> Call:
    """Call an operator on tensors directly."""
    name, overload = _name(node)
    run = _C._get_operation_overload(name, overload)[0]
    arguments = _C._get_schema(name, overload).arguments
    keywords = tuple(item.name for item in arguments if item.kwarg_only)
    places = _places(node, values)
    positional, named = places[: len(places) - len(keywords)], places[len(places) - len(keywords) :]
    outputs = node.outputsSize()

    def call(*given: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        keyed = {keyword: given[place] for keyword, place in zip(keywords, named, strict=True)}
        found = run(*(given[place] for place in positional), **keyed)
        return (found,) if outputs == 1 else tuple(found or ())

    return call


def _function(node: Node, values: Sequence[Value], returned: Sequence[int]) -> Call:
    """Make a function of the node alone, with all that is inside it, and let torch's interpreter run it."""
    graph = _C.Graph()
    inner: dict[int, Value] = {}
    for value in values:
        inner[value.unique()] = _input(graph, value.type())
    clone = graph.insertNode(graph.createClone(node, lambda value: inner[value.unique()]))
    outputs = [*clone.outputs(), *(inner[values[index].unique()] for index in returned)]
    packed = graph.insertNode(graph.create("prim::TupleConstruct", outputs, 1)).output()
    packed.setType(_C.TupleType([output.type() for output in outputs]))
    graph.registerOutput(packed)
    function = _C._create_function_from_graph("step", graph)

    def call(*given: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever flows through the graph
        with optimized_execution(False):  # it would specialise to the first shapes that it sees
            found: tuple[Any, ...] = function(*given)
        return found

    return call


def _input(graph: Any, kind: Any) -> Value:  # noqa: ANN401 - not in torch's stubs
    """Add an input; what a branch that was not taken would have given is None, whatever its type."""
    value = graph.addInput()
    if kind.kind() in ("NoneType", "OptionalType"):
        value.setType(kind)
        return value  # type: ignore[no-any-return]  # as above
    value.setType(_C.OptionalType(kind))
    cast = graph.insertNode(graph.create("prim::unchecked_cast", [value], 1)).output()
    cast.setType(kind)
    return cast  # type: ignore[no-any-return]  # as above


def _places(node: Node, values: Sequence[Value]) -> tuple[int, ...]:
    """Return where each input of the node stands among the values that it captures."""
    order = {value.unique(): index for index, value in enumerate(values)}
    return tuple(order[value.unique()] for value in node.inputs())


def _private(values: Sequence[Any], targets: Iterable[Any]) -> list[Any]:
    """Return the values with the memory of the targets copied, and all that lies in it put at its place in the copy."""
    members: dict[int, list[Tensor]] = {memory(tensor): [] for tensor in tensors(targets)}
    for tensor in tensors(values):
        if memory(tensor) in members:
            members[memory(tensor)].append(tensor)
    copies = {memory: _copy(found) for memory, found in members.items()}

    def moved(tensor: Tensor) -> Tensor:
        copy = copies.get(memory(tensor))
        return tensor if copy is None else _at_its_place(tensor, *copy)

    return [mapped(value, moved) for value in values]


def memory(tensor: Tensor) -> int:
    """Return what identifies the memory that a tensor lies in."""
    return int(tensor.untyped_storage()._cdata)


def _copy(members: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the largest of the tensors that share memory, and a copy of it."""
    largest = max(members, key=Tensor.numel)
    return largest, largest.clone()


def _at_its_place(tensor: Tensor, original: Tensor, copy: Tensor) -> Tensor:
    """Return the part of the copy that corresponds to the part of the original that a tensor is."""
    shape, strides, offset = (
        tensor.shape,
        tensor.stride(),
        int(tensor.storage_offset() - original.storage_offset()),
    )
    if (shape, strides, offset) == (original.shape, original.stride(), 0):
        return copy
    extent = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if tensor.numel() and (
        tensor.dtype != original.dtype
        or copy.stride() != original.stride()
        or offset < 0
        or extent >= original.numel()
    ):
        raise NoProgramError(
            "it writes into memory that several tensors share in a way that cannot be followed"
        )
    return copy.as_strided(shape, strides, max(offset, 0))


def tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401 - whatever flows through the graph
    """Yield the tensors in a value, those in lists, tuples and dictionaries included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors(item)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - whatever flows through the graph
    """Return a value with its tensors changed, those in lists, tuples and dictionaries included."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    if isinstance(value, tuple):
        items = [mapped(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value

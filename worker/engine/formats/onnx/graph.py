"""Questions to an ONNX graph: its operators and their attributes, its tensors, and which names are in use.

Graphs are the protocol-buffers messages themselves, so that whatever else a model carries stays as it is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

OWN_DOMAINS = ("", "ai.onnx")

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)
"""The element types that weights can have."""


def own_opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that a model is written in; 0 where it does not say."""
    return max(
        (entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS), default=0
    )


def operator(node: NodeProto) -> str:
    """Return an operator's name: the bare type for ONNX's own, with its domain for all others.

    >>> operator(NodeProto(op_type="Conv")), operator(NodeProto(op_type="Conv", domain="acme"))
    ('Conv', 'acme::Conv')
    """
    return node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}::{node.op_type}"


def integers(node: NodeProto, attribute: str) -> tuple[int, ...] | None:
    """Return an attribute that is a list of integers; None where the node leaves it out."""
    return next((tuple(found.ints) for found in node.attribute if found.name == attribute), None)


def integer(node: NodeProto, attribute: str, default: int) -> int:
    """Return an attribute that is an integer."""
    return next((found.i for found in node.attribute if found.name == attribute), default)


def number(node: NodeProto, attribute: str, default: float) -> float:
    """Return an attribute that is a number with fractions."""
    return next((found.f for found in node.attribute if found.name == attribute), default)


def text(node: NodeProto, attribute: str, default: str) -> str:
    """Return an attribute that is a string."""
    return next(
        (found.s.decode(errors="replace") for found in node.attribute if found.name == attribute),
        default,
    )


def tensor_of(node: NodeProto, attribute: str) -> TensorProto | None:
    """Return an attribute that is a tensor; None where the node leaves it out."""
    return next(
        (found.t for found in node.attribute if found.name == attribute and found.HasField("t")),
        None,
    )


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs in a node's attributes: the branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph, and the bodies in it, to any depth."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes, and behind each those of its subgraphs, to any depth."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def main_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield the tensors of a model's main graph: its initializers and those of its Constant nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if operator(node) == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def nested_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every other tensor that a model stores: sparse, in bodies, in functions, in other operators."""
    yield from _sparse_parts(model.graph)
    for node in model.graph.node:
        yield from _node_tensors(node, dense=operator(node) != "Constant")
        for graph in subgraphs(node):
            yield from _graph_tensors(graph)
    for info in model.training_info:
        yield from _graph_tensors(info.initialization)
        yield from _graph_tensors(info.algorithm)
    for function in model.functions:
        yield from function_tensors(function)


def function_tensors(function: FunctionProto) -> Iterator[TensorProto]:
    """Yield the tensors that a local function stores."""
    yield from _tensors_of(function.node)


def uses(graph: GraphProto) -> Counter[str]:
    """Return how often each value is used: by nodes, and as an output, to any depth."""
    used = Counter(name for node in all_nodes(graph.node) for name in node.input)
    used.update(output.name for inner in all_graphs(graph) for output in inner.output)
    return used


def names(graph: GraphProto) -> set[str]:
    """Return every name that a value or a node of a graph has, to any depth."""
    taken = {value.name for values in (graph.input, graph.output) for value in values}
    taken.update(tensor.name for tensor in graph.initializer)
    taken.update(sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        taken.update((node.name, *node.input, *node.output))
        for inner in subgraphs(node):
            taken |= names(inner)
    return taken


def fresh_name(wanted: str, taken: set[str]) -> str:
    """Return a name that is not taken, and take it.

    >>> taken = {"conv", "conv_2"}
    >>> fresh_name("conv", taken), fresh_name("conv", taken), fresh_name("other", taken)
    ('conv_3', 'conv_4', 'other')
    """
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _sparse_parts(graph)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        yield from _node_tensors(node)
        for graph in subgraphs(node):
            yield from _graph_tensors(graph)


def _sparse_parts(graph: GraphProto) -> Iterator[TensorProto]:
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _node_tensors(node: NodeProto, *, dense: bool = True) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if dense and attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)

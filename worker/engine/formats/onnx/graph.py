"""Queries of an ONNX graph: operators and attributes, tensors, and the names in use.

Graphs are the protocol-buffers messages themselves, so that everything else in a model stays.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
)

OWN_DOMAINS = ("", "ai.onnx")

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)
"""The element types of weights."""

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
"""The operators between floats and scaled integers, of ONNX and of ONNX Runtime alike."""

_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def is_random(node: NodeProto) -> bool:
    """Return whether a node, or one in its subgraphs, has another value in each run."""
    return any(operator(inner) in _RANDOM for inner in all_nodes([node]))


def own_opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators in a model; 0 where it is missing.

    Where it is there twice, the newest counts.
    """
    versions = [
        entry.version for entry in model.opset_import if entry.domain in OWN_DOMAINS
    ]
    return max(versions, default=0)


def operator(node: NodeProto) -> str:
    """Return an operator's name: the bare type for ONNX's own, with its domain for all others.

    >>> operator(NodeProto(op_type="Conv")), operator(NodeProto(op_type="Conv", domain="acme"))
    ('Conv', 'acme::Conv')
    """
    if node.domain in OWN_DOMAINS:
        return node.op_type
    return f"{node.domain}::{node.op_type}"


def _attribute(node: NodeProto, name: str) -> AttributeProto | None:
    """Return an attribute of a node by its name; None where the node omits it."""
    for attribute in node.attribute:
        if attribute.name == name:
            return attribute
    return None


def integers(node: NodeProto, name: str) -> tuple[int, ...] | None:
    """Return an attribute that is a list of integers; None where the node omits it.

    >>> from onnx import helper
    >>> node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 1], group=4)
    >>> integers(node, "strides"), integers(node, "pads")
    ((2, 1), None)
    """
    attribute = _attribute(node, name)
    if attribute is None:
        return None
    return tuple(attribute.ints)


def integer(node: NodeProto, name: str, default: int) -> int:
    """Return an attribute that is an integer.

    >>> from onnx import helper
    >>> node = helper.make_node("Conv", ["x", "w"], ["y"], group=4)
    >>> integer(node, "group", 1), integer(node, "other", 1)
    (4, 1)
    """
    attribute = _attribute(node, name)
    if attribute is None:
        return default
    return attribute.i


def number(node: NodeProto, name: str, default: float) -> float:
    """Return an attribute that is a floating-point number."""
    attribute = _attribute(node, name)
    if attribute is None:
        return default
    return attribute.f


def text(node: NodeProto, name: str, default: str) -> str:
    """Return an attribute that is a string.

    >>> from onnx import helper
    >>> node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="VALID")
    >>> text(node, "auto_pad", "NOTSET")
    'VALID'
    """
    attribute = _attribute(node, name)
    if attribute is None:
        return default
    # A damaged text must not raise: it equals no text that the callers know.
    return attribute.s.decode(errors="replace")


def input_name(node: NodeProto, position: int) -> str:
    """Return an input of a node; the empty name where the node omits it.

    >>> node = NodeProto(op_type="Conv", input=["x", "w"])
    >>> input_name(node, 1), input_name(node, 2)
    ('w', '')
    """
    if position >= len(node.input):
        return ""
    return node.input[position]


def tensor_of(node: NodeProto, name: str) -> TensorProto | None:
    """Return an attribute that is a tensor; None where the node omits it."""
    for attribute in node.attribute:
        if attribute.name == name and attribute.HasField("t"):
            return attribute.t
    return None


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs in a node's attributes: the branches of an If, the body of a Loop."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and its subgraphs, to any depth."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def all_nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield each node, followed by those of its subgraphs, to any depth."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from all_nodes(graph.node)


def main_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield the tensors of a model's main graph: initializers, and those of Constant nodes."""
    yield from model.graph.initializer
    # Other operators of the main graph may need their tensors at hand.
    for node in model.graph.node:
        if operator(node) != "Constant":
            continue
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def nested_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield all other tensors of a model: sparse, in bodies, functions and other operators."""
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
    """Yield the tensors of a local function."""
    yield from _tensors_of(function.node)


def listed_floats(model: ModelProto) -> int:
    """Return the number of floats that the Constants of a model hold without a tensor."""
    nodes = [*model.graph.node]
    for function in model.functions:
        nodes += function.node
    number = 0
    for node in all_nodes(nodes):
        if operator(node) != "Constant":
            continue
        for attribute in node.attribute:
            if attribute.name == "value_floats":
                number += len(attribute.floats)
            elif attribute.name == "value_float" and not attribute.ref_attr_name:
                number += 1
    return number


def stored_names(graph: GraphProto) -> set[str]:
    """Return the names of a graph's initializers, dense and sparse.

    >>> stored_names(GraphProto(initializer=[TensorProto(name="w")]))
    {'w'}
    """
    dense = {tensor.name for tensor in graph.initializer}
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    return dense | sparse


def sparse_names(graph: GraphProto) -> set[str]:
    """Return the names of the sparse values of a graph and its bodies."""
    sparse: set[str] = set()
    for body in all_graphs(graph):
        sparse.update(tensor.values.name for tensor in body.sparse_initializer)
    for node in all_nodes(graph.node):
        if any(value.HasField("sparse_tensor") for value in node.attribute):
            sparse.update(node.output)
    return sparse


def quantised_names(graph: GraphProto) -> tuple[set[str], set[str]]:
    """Return the names that DequantizeLinear takes as quantised values, and those of scales."""
    values: set[str] = set()
    scales: set[str] = set()
    for node in all_nodes(graph.node):
        if node.op_type == DEQUANTISE:
            first_inputs = node.input[:1]
            values.update(first_inputs)
        if node.op_type in (DEQUANTISE, QUANTISE):
            second_inputs = node.input[1:2]
            scales.update(second_inputs)
    values.discard("")
    return values, scales


def uses(graph: GraphProto) -> Counter[str]:
    """Return the number of uses of each value: as inputs and as graph outputs, to any depth.

    >>> from onnx import ValueInfoProto, helper
    >>> node = helper.make_node("Mul", ["x", "x"], ["y"])
    >>> uses(GraphProto(node=[node], output=[ValueInfoProto(name="y")]))
    Counter({'x': 2, 'y': 1})
    """
    counts: Counter[str] = Counter()
    for node in all_nodes(graph.node):
        counts.update(node.input)
    for body in all_graphs(graph):
        counts.update(output.name for output in body.output)
    return counts


def names(graph: GraphProto) -> set[str]:
    """Return all names of values and nodes of a graph, to any depth."""
    used = stored_names(graph)
    used.update(value.name for value in graph.input)
    used.update(value.name for value in graph.output)
    for node in graph.node:
        used.add(node.name)
        used.update(node.input)
        used.update(node.output)
        for body in subgraphs(node):
            used |= names(body)
    return used


def fresh_name(wish: str, used: set[str]) -> str:
    """Return a name that is not used yet, and add it to `used`.

    >>> used = {"conv", "conv_2"}
    >>> fresh_name("conv", used), fresh_name("conv", used), fresh_name("other", used)
    ('conv_3', 'conv_4', 'other')
    """
    name = wish
    number = 1
    while name in used:
        number += 1
        name = f"{wish}_{number}"
    used.add(name)
    return name


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield all tensors of a graph, to any depth."""
    yield from graph.initializer
    yield from _sparse_parts(graph)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yield the tensors of nodes and of their subgraphs, to any depth."""
    for node in nodes:
        yield from _node_tensors(node)
        for graph in subgraphs(node):
            yield from _graph_tensors(graph)


def _sparse_parts(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the values and the indices of a graph's sparse initializers."""
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices


def _node_tensors(node: NodeProto, *, dense: bool = True) -> Iterator[TensorProto]:
    """Yield the tensors in a node's attributes; `dense=False` leaves single dense ones out."""
    for attribute in node.attribute:
        if dense and attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in attribute.sparse_tensors:
            yield sparse.values
            yield sparse.indices
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor.values
            yield attribute.sparse_tensor.indices

"""Rewrite an exported program: a layer's node becomes chains of new nodes, added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Graph, Node

from worker.engine.formats.aten.sites import unused_name
from worker.engine.formats.pt2.blocks import Block
from worker.engine.formats.pt2.graph import STORED_KINDS, arguments, kind
from worker.engine.formats.pt2.layers import LayerNode
from worker.engine.numerics.convolution import Array, Convolution, Layer

_aten = torch.ops.aten
_CONV: Any = {1: _aten.conv1d.default, 2: _aten.conv2d.default, 3: _aten.conv3d.default}
_TRANSPOSED: Any = {
    1: _aten.conv_transpose1d.default,
    2: _aten.conv_transpose2d.input,
    3: _aten.conv_transpose3d.input,
}
# What a decomposed graph has in place of the operators above and of `aten::linear`.
_DECOMPOSED_CONVOLUTIONS = frozenset({"aten::convolution", "aten::_convolution"})
_DECOMPOSED_PRODUCTS = frozenset({"aten::addmm", "aten::mm"})


@dataclass(frozen=True)
class StoredLayer:
    """A layer whose weights are in a program: their placeholders."""

    convolution: Convolution
    weight: Node
    bias: Node | None


def store(
    program: ExportedProgram, path: str, layer: Layer, like: Tensor
) -> StoredLayer:
    """Add the weights of a layer to a program, with the dtype of `like`, trainable if it is."""
    weight = add_parameter(program, f"{path}.weight", layer.weight, like)
    bias = None
    if layer.bias is not None:
        bias = add_parameter(program, f"{path}.bias", layer.bias, like)
    return StoredLayer(layer.convolution, weight, bias)


def replace_node(
    layer: LayerNode,
    chains: Sequence[Sequence[StoredLayer]],
    blocks: Mapping[Graph, Block],
) -> None:
    """Replace a node by the sum of chains of layers; it keeps its name and its metadata.

    The last of the new operators takes the node's place, so that its users and the program's
    signature stay as they are. In a block the weights are passed into it.
    """
    node = layer.node
    data = arguments(node)[layer.data]
    builder = _Builder(node, blocks)
    if len(chains) == 1:
        target, args = builder.chain(data, chains[0])
        _become(node, target, args)
        return
    outputs = []
    for chain in chains:
        target, args = builder.chain(data, chain)
        outputs.append(builder.like_result(target, args))
    total, *others = outputs
    for other in others[:-1]:
        total = builder.like_result(_aten.add.Tensor, (total, other))
    _become(node, _aten.add.Tensor, (total, others[-1]))


def drop_unused(
    program: ExportedProgram, candidates: Sequence[Node], blocks: Mapping[Graph, Block]
) -> None:
    """Take out nodes that nothing uses any more, and the stored tensors that only they used."""
    waiting = list(candidates)
    removed: set[str] = set()
    erased: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node in erased or node.users:
            continue
        block = blocks.get(node.graph)
        if node.op == "placeholder" and block is not None:
            operand = block.drop(node)
            waiting += [operand] if isinstance(operand, Node) else []
        elif node.op in ("placeholder", "call_function"):
            if node.op == "placeholder":
                removed.add(node.name)
            waiting += node.all_input_nodes
            node.graph.erase_node(node)
        erased.add(node)
    _drop_stored(program, removed)


def stored_operands(layer: LayerNode) -> list[Node]:
    """Return the nodes that a layer takes besides its data."""
    operands = []
    for position, value in enumerate(arguments(layer.node)):
        if position != layer.data and isinstance(value, Node):
            operands.append(value)
    return operands


class _Builder:
    """Adds nodes ahead of a node that gets replaced, each with the shape of its result.

    Shapes follow from the layers' geometry. Running the operators would tell them as well, but also
    fix symbols to the sizes of the example that the program was exported with.
    """

    def __init__(self, node: Node, blocks: Mapping[Graph, Block]) -> None:
        self._node = node
        self._blocks = blocks
        self._graph: Graph = node.graph
        self._mode = _fake_mode(node)

    def chain(
        self, data: Node, layers: Sequence[StoredLayer]
    ) -> tuple[Any, tuple[Any, ...]]:
        """Add all but the last operator of a chain, and return that one and its arguments."""
        value = data
        *first, last = layers
        for layer in first:
            target, args = self._operator(value, layer)
            value = self._call(target, args, _result_shape(value, layer.convolution))
        return self._operator(value, last)

    def like_result(self, target: Any, args: tuple[Any, ...]) -> Node:  # noqa: ANN401 - operators have no public type
        """Add a call of an operator whose result has the shape of the replaced node's."""
        return self._call(target, args, self._node.meta["val"].shape)

    def _call(self, target: Any, args: tuple[Any, ...], shape: Sequence[Any]) -> Node:  # noqa: ANN401 - as above
        with self._graph.inserting_before(self._node):
            node = self._graph.call_function(target, args)
        for name in ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack"):
            if name in self._node.meta:
                node.meta[name] = self._node.meta[name]
        with self._mode:
            node.meta["val"] = self._node.meta["val"].new_empty(shape)
        return node

    def _operator(self, data: Node, layer: StoredLayer) -> tuple[Any, tuple[Any, ...]]:
        """Return the operator of a layer and its arguments, in the dialect of the replaced node."""
        geometry = layer.convolution
        weight = self._inside(layer.weight, self._graph)
        bias = None if layer.bias is None else self._inside(layer.bias, self._graph)
        layer = StoredLayer(geometry, weight, bias)
        if not geometry.kernel:
            return self._linear(data, layer)
        if isinstance(geometry.padding, str):
            raise ValueError(
                f"torch pads by numbers, not by the rule {geometry.padding!r}"
            )
        padding = geometry.padding
        if any(before != behind for before, behind in padding):
            data = self._padded(data, geometry, padding)
            padding = ((0, 0),) * len(padding)
        inside = [before for before, _ in padding]
        return self._convolution(data, layer, inside)

    def _inside(self, value: Node, graph: Graph) -> Node:
        """Return a value of the program's graph as a graph within it has it."""
        block = self._blocks.get(graph)
        if block is None:
            return value
        return block.pass_in(self._inside(value, block.call.graph))

    def _convolution(
        self, data: Node, layer: StoredLayer, padding: list[int]
    ) -> tuple[Any, tuple[Any, ...]]:
        geometry = layer.convolution
        stride, dilation = [*geometry.stride], [*geometry.dilation]
        output_padding = [*geometry.output_padding] or [0] * len(stride)
        first = (data, layer.weight, layer.bias, stride, padding)
        if kind(self._node) in _DECOMPOSED_CONVOLUTIONS:
            settings = (dilation, geometry.transposed, output_padding, geometry.groups)
            return _aten.convolution.default, (*first, *settings)
        axes = len(geometry.kernel)
        if geometry.transposed:
            return _TRANSPOSED[axes], (
                *first,
                output_padding,
                geometry.groups,
                dilation,
            )
        return _CONV[axes], (*first, dilation, geometry.groups)

    def _padded(
        self, data: Node, geometry: Convolution, padding: Sequence[tuple[int, int]]
    ) -> Node:
        """Put zeros around the data that differ before and behind an axis."""
        if geometry.transposed:
            raise ValueError(
                f"torch crops both ends of an axis alike, not by {padding}"
            )
        ends: list[int] = []
        for pair in reversed(padding):  # torch counts the axes from the last
            ends += pair
        leading, spatial = _split(data, geometry)
        sizes = [size + sum(pair) for size, pair in zip(spatial, padding, strict=True)]
        return self._call(
            _aten.constant_pad_nd.default, (data, ends, 0), (*leading, *sizes)
        )

    def _linear(self, data: Node, layer: StoredLayer) -> tuple[Any, tuple[Any, ...]]:
        if kind(self._node) not in _DECOMPOSED_PRODUCTS:
            return _aten.linear.default, (data, layer.weight, layer.bias)
        outputs, inputs = layer.convolution.weight_shape
        turned = self._call(
            _aten.permute.default, (layer.weight, [1, 0]), (inputs, outputs)
        )
        if layer.bias is None:
            return _aten.mm.default, (data, turned)
        return _aten.addmm.default, (layer.bias, data, turned)


def _split(
    data: Node, geometry: Convolution
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the leading sizes of a convolution's data, its channels included, and the spatial."""
    shape = tuple(data.meta["val"].shape)
    axes = len(geometry.kernel)
    return shape[:-axes], shape[-axes:]


def _result_shape(data: Node, geometry: Convolution) -> tuple[Any, ...]:
    """Return the shape of a layer's result; sizes may be symbols."""
    if not geometry.kernel:
        return (*data.meta["val"].shape[:-1], geometry.out_channels)
    leading, spatial = _split(data, geometry)
    return (*leading[:-1], geometry.out_channels, *geometry.output_size(spatial))


def _become(node: Node, target: Any, args: tuple[Any, ...]) -> None:  # noqa: ANN401 - as above
    node.target = target
    node.args = args
    node.kwargs = {}


def _fake_mode(node: Node) -> FakeTensorMode:
    """Return the mode that the program's shapes were computed in."""
    value = node.meta["val"]
    assert isinstance(value, FakeTensor)
    return value.fake_mode


def add_parameter(
    program: ExportedProgram, path: str, values: Array, like: Tensor
) -> Node:
    """Add a parameter to the graph, to the signature and to the weights."""
    contiguous = np.ascontiguousarray(values)
    tensor = torch.from_numpy(contiguous).to(like.dtype)
    parameter = nn.Parameter(tensor, requires_grad=like.requires_grad)
    path = unused_name(path, lambda name: name in program.state_dict)
    graph, signature = program.graph, program.graph_signature
    following = _first_after_parameters(program)
    with graph.inserting_before(following):
        node: Node = graph.placeholder("p_" + path.replace(".", "_"))
    # torch writes the target of a placeholder into its code
    node.target = node.name
    mode = _fake_mode(following)
    node.meta["val"] = mode.from_tensor(parameter, static_shapes=True)
    position = _position(program, following)
    spec = InputSpec(InputKind.PARAMETER, TensorArgument(name=node.name), path)
    signature.input_specs.insert(position, spec)
    program.state_dict[path] = parameter
    return node


def _first_after_parameters(program: ExportedProgram) -> Node:
    """Return the placeholder ahead of which a new parameter stands."""
    nodes: dict[str, Node] = {node.name: node for node in program.graph.nodes}
    for spec in program.graph_signature.input_specs:
        is_tensor = isinstance(nodes[spec.arg.name].meta.get("val"), FakeTensor)
        if spec.kind != InputKind.PARAMETER and is_tensor:
            return nodes[spec.arg.name]
    raise ValueError("a program without inputs")


def _position(program: ExportedProgram, node: Node) -> int:
    names = [spec.arg.name for spec in program.graph_signature.input_specs]
    return names.index(node.name)


def _drop_stored(program: ExportedProgram, placeholders: set[str]) -> None:
    """Take the tensors of placeholders that are gone out of the signature and the weights."""
    specs = program.graph_signature.input_specs
    gone = [spec.target for spec in specs if spec.arg.name in placeholders]
    specs[:] = [spec for spec in specs if spec.arg.name not in placeholders]
    kept = {spec.target for spec in specs if spec.kind in STORED_KINDS}
    for path in gone:
        if path is not None and path not in kept:
            program.state_dict.pop(path, None)
            program.constants.pop(path, None)

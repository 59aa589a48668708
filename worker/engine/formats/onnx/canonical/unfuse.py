"""Operators with a weight that are more than a layer, taken apart: the layer, and the rest.

These are ONNX Runtime's fused ones, and an Einsum that is a linear layer.

Source: onnxruntime's ContribOperators.md and its fusion of activations.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from worker.engine.formats.onnx.canonical import attention, einsum
from worker.engine.formats.onnx.constants import Constant, constants
from worker.engine.formats.onnx.graph import (
    all_graphs,
    fresh_name,
    input_name,
    integer,
    names,
    number,
    operator,
    own_opset,
    text,
)

# Its bounds are inputs from this opset on.
_FIRST_OPSET_OF_CLIP_WITH_INPUTS = 11

_ACTIVATIONS: Mapping[str, Sequence[str]] = {
    "Relu": (),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "Elu": ("alpha",),
    "LeakyRelu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""The activations of a fused operator, with the attributes that their parameters are."""


@dataclass(frozen=True)
class _Model:
    """A model that is taken apart, with its constants and names."""

    model: ModelProto
    constants: Mapping[str, Constant]
    names: set[str]

    def store(self, wish: str, value: float, data_type: int) -> str:
        """Store a number in the main graph, which bodies see too, and return its name."""
        name = fresh_name(wish, self.names)
        dtype = helper.tensor_dtype_to_np_dtype(data_type)
        self.model.graph.initializer.append(
            numpy_helper.from_array(np.array(value, dtype), name)
        )
        return name

    def data_type(self, node: NodeProto) -> int:
        """Return the element type of a node's weight; float where it is not stored."""
        weight = self.constants.get(input_name(node, 1))
        if weight is None:
            return TensorProto.FLOAT
        return weight.data_type


def unfuse(model: ModelProto) -> None:
    """Take the fused operators of a model apart, where every part is known."""
    graphs = [
        graph for graph in all_graphs(model.graph) if any(map(_is_fused, graph.node))
    ]
    if not graphs:
        return
    whole = _Model(model, constants(model.graph), names(model.graph))
    for graph in graphs:
        _unfuse_nodes(graph, whole)


def _is_fused(node: NodeProto) -> bool:
    return operator(node) in _PARTS


def _unfuse_nodes(graph: GraphProto, whole: _Model) -> None:
    nodes = list(graph.node)
    graph.ClearField("node")
    for node in nodes:
        parts = _PARTS.get(operator(node), _nothing)(node, whole)
        graph.node.extend(parts or [node])


def _nothing(_node: NodeProto, _whole: _Model) -> list[NodeProto]:
    return []


def _convolution(node: NodeProto, whole: _Model) -> list[NodeProto]:
    """Return Conv, Add of the residual, and activation; nothing where the activation is unknown."""
    activation = text(node, "activation", "")
    if not _is_known(activation):
        return []
    parameters: Sequence[float] = ()
    for attribute in node.attribute:
        if attribute.name == "activation_params":
            parameters = attribute.floats
    chain = _Chain(node, whole)
    chain.add("Conv", node.input[:3], _without_activation(node))
    residual = input_name(node, 3)
    if residual:
        chain.add("Add", [chain.value, residual])
    _activate(chain, activation, parameters)
    return chain.finished()


def _gemm(node: NodeProto, whole: _Model) -> list[NodeProto]:
    """Return Gemm and activation; nothing where the activation is unknown."""
    activation = text(node, "activation", "")
    if not _is_known(activation) or activation == "Clip":
        return []
    stated = {attribute.name: attribute.f for attribute in node.attribute}
    names_there = [f"activation_{name}" for name in _ACTIVATIONS.get(activation, ())]
    parameters = [stated[name] for name in names_there if name in stated]
    chain = _Chain(node, whole)
    attributes = _without_activation(node)
    chain.add("Gemm", node.input, attributes)
    _activate(chain, activation, parameters)
    return chain.finished()


def _product(node: NodeProto, whole: _Model) -> list[NodeProto]:
    """Return MatMul and the scaling of its result.

    Only a product with a stored matrix on the right is a layer; others stay.
    """
    weight = whole.constants.get(input_name(node, 1))
    moved = [
        integer(node, name, 0) for name in ("transA", "transBatchA", "transBatchB")
    ]
    if weight is None or len(weight.shape) != 2 or any(moved):
        return []
    chain = _Chain(node, whole)
    matrix = node.input[1]
    if integer(node, "transB", 0):
        swap = helper.make_attribute("perm", [1, 0])
        chain.add("Transpose", [matrix], [swap])
        matrix = chain.value
    chain.add("MatMul", [node.input[0], matrix])
    alpha = number(node, "alpha", 1.0)
    if alpha != 1:
        data_type = whole.data_type(node)
        scale = whole.store(f"{node.output[0]}_alpha", alpha, data_type)
        chain.add("Mul", [chain.value, scale])
    return chain.finished()


def _attention(node: NodeProto, whole: _Model) -> list[NodeProto]:
    return attention.take_apart(node, whole.model, whole.constants, whole.names)


def _einsum(node: NodeProto, whole: _Model) -> list[NodeProto]:
    return einsum.take_apart(node, whole.model, whole.constants, whole.names)


_PARTS: Mapping[str, Callable[[NodeProto, _Model], list[NodeProto]]] = {
    "Einsum": _einsum,
    "com.microsoft::Attention": _attention,
    "com.microsoft::FusedConv": _convolution,
    "com.microsoft::FusedGemm": _gemm,
    "com.microsoft::FusedMatMul": _product,
    "com.microsoft::TransposeMatMul": _product,
}


class _Chain:
    """The nodes in the place of a fused one; the layer keeps its name, the last its output."""

    def __init__(self, fused: NodeProto, whole: _Model) -> None:
        self.fused = fused
        self.whole = whole
        self.value = ""
        self._nodes: list[NodeProto] = []

    def add(
        self,
        op: str,
        operands: Iterable[str],
        attributes: Sequence[AttributeProto] = (),
    ) -> None:
        """Add a node; `value` is then its output."""
        output = self.fused.output[0]
        self.value = fresh_name(f"{output}_{op.lower()}", self.whole.names)
        node = NodeProto(op_type=op, doc_string=self.fused.doc_string)
        is_layer = op in ("Conv", "Gemm", "MatMul")
        if self.fused.name:
            node.name = (
                self.fused.name if is_layer else f"{self.fused.name}_{op.lower()}"
            )
        node.input.extend(operands)
        node.output.append(self.value)
        node.attribute.extend(attributes)
        self._nodes.append(node)

    def finished(self) -> list[NodeProto]:
        """Return the nodes; the last has the output of the fused one."""
        self._nodes[-1].output[0] = self.fused.output[0]
        return self._nodes


def _is_known(activation: str) -> bool:
    return activation in _ACTIVATIONS or activation in ("", "Clip")


def _without_activation(node: NodeProto) -> list[AttributeProto]:
    return [each for each in node.attribute if not each.name.startswith("activation")]


def _activate(chain: _Chain, activation: str, parameters: Sequence[float]) -> None:
    """Add an activation with its parameters, those that are given."""
    if not activation:
        return
    if activation == "Clip":
        _clip(chain, parameters)
        return
    attributes = zip(_ACTIVATIONS[activation], parameters, strict=False)
    chain.add(
        activation,
        [chain.value],
        [helper.make_attribute(name, float(value)) for name, value in attributes],
    )


def _clip(chain: _Chain, bounds: Sequence[float]) -> None:
    """Add a Clip in the form of the model's opset."""
    whole = chain.whole
    pairs = list(zip(("min", "max"), bounds, strict=False))
    if own_opset(whole.model) < _FIRST_OPSET_OF_CLIP_WITH_INPUTS:
        attributes = [
            helper.make_attribute(name, float(value)) for name, value in pairs
        ]
        chain.add("Clip", [chain.value], attributes)
        return
    data_type = whole.data_type(chain.fused)
    stem = chain.fused.output[0]
    stored = [whole.store(f"{stem}_{name}", value, data_type) for name, value in pairs]
    chain.add("Clip", [chain.value, *stored])

"""The layers of an ONNX graph that int8 applies to."""

import re
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto

from worker.engine.formats.onnx.graph import (
    all_nodes,
    fresh_name,
    input_name,
    integer,
    number,
    operator,
)
from worker.engine.formats.onnx.int8.plain_gemms import has_plain_bias
from worker.engine.numerics.convolution import Convolution

LAYERS = ("Conv", "Gemm", "MatMul")
"""The operators with weights that ONNX Runtime computes in int8 on a processor."""

_MOST_AXES = 2
_FUSED = "/MatMulAddFusion"
# As `GraphRewriter` names the weights and the nodes of the layers in a site's place.
_FACTOR = re.compile(r"(?:_branch\d+)?_factor\d+(?:_\d+)?$")
_GROUPED = "int8 makes grouped layers slower"


@dataclass(frozen=True)
class QuantisableLayer:
    """A node that may be computed in int8, and the site that it stands in."""

    node: str
    site: str


def node_sites(model: ModelProto) -> list[str | None]:
    """Return the site of each node of the main graph, in order; None for what is no layer.

    A site is named as `merge_sites` names it: after its first node, or after its weight where that
    name is not unique. Nodes that share a weight and use it in different ways are sites of their
    own. The layers in a site's place share its name and that of its weight, but for an ending; the
    last of them has the name itself.
    """
    all_names = [node.name for node in all_nodes(model.graph.node)]
    name_counts = Counter(all_names)
    layers = [node for node in model.graph.node if _is_layer(node)]
    names: dict[Hashable, str] = {}
    used: set[str] = set()
    for node in layers:
        way = _way(node)
        if way in names or without_factor(node.name) != node.name:
            continue
        is_name_of_site = node.name and name_counts[node.name] == 1
        name = node.name if is_name_of_site else without_factor(node.input[1])
        names[way] = fresh_name(name, used)
        # the other layers in the place of a site have weights of other names
        names.setdefault(without_factor(node.input[1]), names[way])
    sites: list[str | None] = []
    for node in model.graph.node:
        site = None
        if _is_layer(node):
            site = names.get(_way(node)) or without_factor(node.input[1]) or None
        sites.append(site)
    return sites


def _way(node: NodeProto) -> Hashable:
    """Return the key of a node's site: its weight, and the way it uses that."""
    weight = without_factor(node.input[1])
    if weight != node.input[1]:
        # only a site that has its weight for itself is factored
        return weight
    if node.op_type == "Gemm":
        scales = [number(node, factor, 1.0) for factor in ("alpha", "beta")]
        return (*node.input[1:], integer(node, "transB", 0), *scales)
    attributes = [attribute.SerializeToString() for attribute in node.attribute]
    return (node.op_type, *node.input[1:], *sorted(attributes))


def _is_layer(node: NodeProto) -> bool:
    return operator(node) in LAYERS and len(node.input) > 1


def quantisable_layers(
    model: ModelProto, sites: Mapping[str, str]
) -> list[QuantisableLayer]:
    """Return the nodes of an optimised model's main graph that int8 applies to.

    `sites` are those by node of the model before its optimisation.
    Their weights are stored in float32. Convolutions with several groups of several channels are
    left out, since ONNX Runtime computes them in int8 more slowly than in float.
    """
    weights = {
        tensor.name: tuple(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    }
    layers = []
    for node in model.graph.node:
        if not _is_layer(node):
            continue
        shape = weights.get(node.input[1])
        bias = weights.get(input_name(node, 2))
        if shape is not None and _is_dense(node, shape, bias):
            # a product that was fused with an addition has the product's name before a slash
            own = node.name.removesuffix(_FUSED)
            layers.append(QuantisableLayer(node.name, sites.get(own, own)))
    return layers


def without_factor(name: str) -> str:
    """Return the name of a site's weight or node from that of a layer in its place.

    >>> without_factor("conv1.weight"), without_factor("conv1.weight_branch2_factor1")
    ('conv1.weight', 'conv1.weight')
    """
    return _FACTOR.sub("", name)


def _is_dense(
    node: NodeProto, shape: tuple[int, ...], bias: tuple[int, ...] | None
) -> bool:
    """Whether a layer has few enough axes, and one group or one channel a group."""
    if node.op_type == "Gemm":
        return has_plain_bias(node, bias)
    if node.op_type == "MatMul":
        return len(shape) == 2
    if len(shape) - 2 > _MOST_AXES:
        return False
    groups = integer(node, "group", 1)
    return groups == 1 or shape[1] == 1


def why_not_int8(convolutions: Collection[Convolution]) -> str | None:
    """Return why layers stay in float; None where int8 applies to all of them."""
    for convolution in convolutions:
        if convolution.transposed:
            return "int8 does not apply to transposed layers"
        if len(convolution.kernel) > _MOST_AXES:
            return f"int8 applies to layers of at most {_MOST_AXES} spatial axes"
        if convolution.groups > 1 and convolution.group_inputs > 1:
            return _GROUPED
    return None

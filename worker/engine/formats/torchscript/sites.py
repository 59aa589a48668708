"""The sites of a TorchScript module: its layers, gathered by the weight that they share."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from worker.engine.formats.torchscript.layers import (
    LayerNode,
    SiteKey,
    TensorKey,
    layer_nodes,
    optional_key,
)
from worker.engine.formats.torchscript.method import Method
from worker.engine.numerics.convolution import Convolution

HIDDEN = "it is also called where the graph cannot be edited (a fork, or an interface)"
SHARED = "its weight is shared with layers that use it differently"


@dataclass(frozen=True)
class GraphSite:
    """One weight used with one geometry and one bias, by one node or by several.

    Attributes:
        name: Attribute path of the weight without `.weight`, or the operator, made unique.
        op: What its nodes compute, however the file spells it.
        weight: The stored weight, as it is stored.
        bias: The stored bias, `(n,)`, if any.
        convolution: The geometry, None where a setting is computed at run time.
        reason: Why the site stays as it is, None where it can be replaced.
        is_transposed: Whether the weight is the transpose of a `Layer`'s.
        key: What its nodes have in common.
    """

    name: str
    op: str
    weight: Tensor
    bias: Tensor | None
    convolution: Convolution | None
    reason: str | None
    is_transposed: bool
    key: SiteKey


def nodes_by_site(methods: Iterable[Method]) -> dict[SiteKey, list[LayerNode]]:
    """Return the nodes of these methods that multiply by a stored weight, gathered by site."""
    groups: dict[SiteKey, list[LayerNode]] = {}
    for method in methods:
        for layer in layer_nodes(method):
            if layer.weight is not None:
                groups.setdefault(layer.site_key, []).append(layer)
    return groups


def sites_of(methods: Sequence[Method]) -> dict[str, GraphSite]:
    """Return the sites of these methods by name, in the order of their nodes.

    Nodes whose weight is computed at run time are not among them.
    """
    hidden: set[str] = set()
    for method in methods:
        hidden.update(method.hidden_paths())
    groups = nodes_by_site(methods)
    usages: dict[TensorKey | None, set[Hashable]] = defaultdict(set)
    for key, members in groups.items():
        usages[key.weight].update(_usage(layer) for layer in members)
    sites: dict[str, GraphSite] = {}
    for key, members in groups.items():
        first = members[0]
        assert first.weight is not None
        reason = next((layer.reason for layer in members if layer.reason is not None), None)
        if reason is None and _is_hidden(members, hidden):
            reason = HIDDEN
        if reason is None and len(usages[key.weight]) > 1:
            reason = SHARED
        name = unused_name(_readable_name(first), sites.__contains__)
        sites[name] = GraphSite(
            name,
            first.op,
            first.weight,
            first.bias,
            first.convolution,
            reason,
            first.is_transposed,
            key,
        )
    return sites


def unused_name(name: str, is_used: Callable[[str], bool]) -> str:
    """Return the name, with a number behind it where it is in use.

    >>> unused_name("conv", {"conv", "conv_2"}.__contains__)
    'conv_3'
    """
    unused, number = name, 1
    while is_used(unused):
        number += 1
        unused = f"{name}_{number}"
    return unused


def _usage(layer: LayerNode) -> Hashable:
    """Return how a node uses its weight: one factorisation serves all nodes of the same usage."""
    return layer.site_key, optional_key(layer.bias), layer.is_transposed, layer.reason


def _is_hidden(members: Iterable[LayerNode], hidden: Iterable[str]) -> bool:
    """Whether a weight lies in a module or tensor that code out of reach takes."""
    pairs = product(members, hidden)
    return any(_lies_in(layer.path or "", module) for layer, module in pairs)


def _readable_name(layer: LayerNode) -> str:
    return layer.op if layer.path is None else layer.path.removesuffix(".weight")


def _lies_in(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")

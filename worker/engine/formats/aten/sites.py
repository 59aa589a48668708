"""The sites of a graph of aten operators: its layers, gathered by the weight that they share."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Set
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from worker.engine.formats.aten.layers import LayerUse, SiteKey, TensorKey, optional_key
from worker.engine.numerics.convolution import Array, Convolution, Layer

HIDDEN = (
    "it is also called where the graph cannot be edited (a fork, an interface, a branch of "
    "torch.cond, or an operator that is no layer)"
)
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


_Use = TypeVar("_Use", bound=LayerUse)


def by_site(layers: Iterable[_Use]) -> dict[SiteKey, list[_Use]]:
    """Return the layers that multiply by a stored weight, gathered by site."""
    groups: dict[SiteKey, list[_Use]] = {}
    for layer in layers:
        if layer.weight is not None:
            groups.setdefault(layer.site_key, []).append(layer)
    return groups


def named_sites(
    layers: Iterable[LayerUse],
    is_hidden: Callable[[str], bool] = lambda _: False,
    elsewhere: Set[TensorKey] = frozenset(),
) -> dict[str, GraphSite]:
    """Return the sites of these layers by name, in the order of the layers.

    Layers whose weight is computed at run time are not among them. `is_hidden` says whether code
    out of reach takes the weight of a path. `elsewhere` are the weights that other operators
    multiply by.
    """
    groups = by_site(layers)
    usages: dict[TensorKey | None, set[Hashable]] = defaultdict(set)
    for key, members in groups.items():
        usages[key.weight].update(_usage(layer) for layer in members)
    sites: dict[str, GraphSite] = {}
    for key, members in groups.items():
        first = members[0]
        assert first.weight is not None
        reasons = [layer.reason for layer in members if layer.reason is not None]
        reason = next(iter(reasons), None)
        paths = [layer.path or "" for layer in members]
        is_reachable = key.weight not in elsewhere and not any(map(is_hidden, paths))
        if reason is None and not is_reachable:
            reason = HIDDEN
        if reason is None and len(usages[key.weight]) > 1:
            reason = SHARED
        name = unused_name(_readable_name(first), sites.__contains__)
        sites[name] = GraphSite(
            name=name,
            op=first.op,
            weight=first.weight,
            bias=first.bias,
            convolution=first.convolution,
            reason=reason,
            is_transposed=first.is_transposed,
            key=key,
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


def _usage(layer: LayerUse) -> Hashable:
    """Return the usage of a weight: one factorisation serves all calls of the same usage."""
    return layer.site_key, optional_key(layer.bias), layer.is_transposed, layer.reason


def _readable_name(layer: LayerUse) -> str:
    if layer.path is None:
        return layer.op
    return layer.path.removesuffix(".weight")


def layer_of(site: GraphSite) -> Layer:
    """Return the weights of a site that can be replaced, as float32 or float64 arrays."""
    assert site.convolution is not None  # a site that can be replaced is a convolution
    weight, bias = site.weight, site.bias
    if site.is_transposed:
        weight = weight.t()
    bias_array = None if bias is None else _array(bias)
    return Layer(site.convolution, _array(weight), bias_array)


def _array(tensor: Tensor) -> Array:
    exact = tensor.detach()
    if exact.dtype not in (torch.float32, torch.float64):
        exact = exact.float()
    return exact.cpu().numpy()

"""The sites of a TorchScript module: its convolutions and linear layers, gathered by the weight that they share."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from worker.engine.formats.torchscript.graph import Scope
from worker.engine.formats.torchscript.layers import Identity, Key, Use, key_of, uses
from worker.engine.numerics.convolution import Convolution

HIDDEN = "it is also called where the graph cannot be edited (a fork, or an interface)"
SHARED = "its weight is shared with layers that use it in another way"


@dataclass(frozen=True)
class GraphSite:
    """One weight used with one geometry and one bias, by one node or by several."""

    name: str
    op: str
    weight: Tensor
    bias: Tensor | None
    convolution: Convolution | None
    reason: str | None
    turned: bool
    identity: Identity


def group(scopes: Iterable[Scope]) -> dict[Identity, list[Use]]:
    """Return the nodes of these methods that use a stored weight, gathered by what makes them calls of one site."""
    groups: dict[Identity, list[Use]] = {}
    for scope in scopes:
        for use in uses(scope):
            if use.weight is not None:
                groups.setdefault(use.identity, []).append(use)
    return groups


def gather(scopes: Sequence[Scope]) -> dict[str, GraphSite]:
    """Return the sites of these methods by name, in the order of their nodes.

    Nodes whose weight is computed at run time are not among them.
    """
    hidden = {
        path for scope in scopes for path in scope.hidden()
    }  # whole modules, or single tensors
    groups = group(scopes)
    ways: dict[Key | None, set[Hashable]] = defaultdict(set)
    for identity, members in groups.items():
        ways[identity.weight].update(_way(use) for use in members)
    sites: dict[str, GraphSite] = {}
    for identity, members in groups.items():
        first = members[0]
        assert first.weight is not None
        reasons = [use.reason for use in members if use.reason is not None]
        if any(_lies_in(use.path or "", path) for use in members for path in hidden):
            reasons.append(HIDDEN)
        if len(ways[identity.weight]) > 1:
            reasons.append(SHARED)
        name = unused_name(_readable(first), sites.__contains__)
        sites[name] = GraphSite(
            name,
            first.op,
            first.weight,
            first.bias,
            first.convolution,
            next(iter(reasons), None),
            first.turned,
            identity,
        )
    return sites


def _way(use: Use) -> Hashable:
    """Return how a node uses its weight: factors of one are factors of another where this is the same."""
    return use.identity, None if use.bias is None else key_of(use.bias), use.turned, use.reason


def unused_name(wanted: str, is_taken: Callable[[str], bool]) -> str:
    """Return the name, numbered where it is taken.

    >>> unused_name("conv", {"conv", "conv_2"}.__contains__)
    'conv_3'
    """
    name, number = wanted, 1
    while is_taken(name):
        number += 1
        name = f"{wanted}_{number}"
    return name


def _readable(use: Use) -> str:
    return use.op if use.path is None else use.path.removesuffix(".weight")


def _lies_in(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")

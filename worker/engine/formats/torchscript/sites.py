"""The sites of a TorchScript module: its layers, gathered by the weight that they share."""

from collections.abc import Iterable, Iterator, Sequence

from worker.engine.formats.aten.layers import SiteKey
from worker.engine.formats.aten.sites import GraphSite, by_site, named_sites
from worker.engine.formats.torchscript.layers import LayerNode, layer_nodes
from worker.engine.formats.torchscript.method import Method


def nodes_by_site(methods: Iterable[Method]) -> dict[SiteKey, list[LayerNode]]:
    """Return the nodes of these methods that multiply by a stored weight, gathered by site."""
    return by_site(_layers(methods))


def sites_of(methods: Sequence[Method]) -> dict[str, GraphSite]:
    """Return the sites of these methods by name, in the order of their nodes.

    Nodes whose weight is computed at run time are not among them.
    """
    hidden: set[str] = set()
    for method in methods:
        hidden.update(method.hidden_paths())

    def is_hidden(path: str) -> bool:
        """Whether a weight lies in a module or tensor that code out of reach takes."""
        return any(_lies_in(path, module) for module in hidden)

    return named_sites(_layers(methods), is_hidden)


def _layers(methods: Iterable[Method]) -> Iterator[LayerNode]:
    for method in methods:
        yield from layer_nodes(method)


def _lies_in(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")

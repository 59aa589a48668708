"""The sites of a TorchScript module: its layers, gathered by the weight that they share."""

from collections.abc import Iterable, Iterator, Sequence

from torch._C import Value

from worker.engine.formats.aten.layers import SiteKey, TensorKey
from worker.engine.formats.aten.other_uses import may_multiply, stored_operands
from worker.engine.formats.aten.sites import GraphSite, by_site, named_sites
from worker.engine.formats.torchscript.graph import nodes
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

    layers = list(_layers(methods))
    return named_sites(layers, is_hidden, set(_weights_elsewhere(methods, layers)))


def _layers(methods: Iterable[Method]) -> Iterator[LayerNode]:
    for method in methods:
        yield from layer_nodes(method)


def _weights_elsewhere(
    methods: Sequence[Method], layers: Sequence[LayerNode]
) -> Iterator[TensorKey]:
    """Yield the weights that nodes multiply by which are no layers."""
    own = {layer.node.output().unique() for layer in layers if layer.weight is not None}
    for method in methods:
        for node in nodes(method.graph):
            if not may_multiply(node.kind()):
                continue
            result = node.outputsAt(0).unique()
            if result in own or result in method.superseded:
                continue
            yield from stored_operands(
                node.inputs(),
                _kind,
                lambda value: value.node().inputs(),
                method.constant,
            )


def _kind(value: Value) -> str:
    return value.node().kind()


def _lies_in(path: str, module: str) -> bool:
    return not module or path == module or path.startswith(module + ".")

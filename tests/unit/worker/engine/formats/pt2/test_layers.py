"""The layers of a graph, by their nodes."""

import pytest
import torch
from torch.fx import Graph

from worker.engine.formats.aten.layers import tensor_key
from worker.engine.formats.pt2.graph import Constants
from worker.engine.formats.pt2.layers import layer_nodes, weights_elsewhere

ATEN = torch.ops.aten
MATRIX = torch.arange(15.0).reshape(5, 3)


class Products:
    """A graph of an input `x` and a stored matrix `w`."""

    def __init__(self):
        self.graph = Graph()
        self.x, self.w = self.graph.placeholder("x"), self.graph.placeholder("w")

    def call(self, operator, *args):
        return self.graph.call_function(operator, args)

    @property
    def constants(self):
        return Constants(list(self.graph.nodes), {"w": MATRIX})

    def layers(self):
        nodes = list(self.graph.nodes)
        return layer_nodes(nodes, self.constants, {"w": "head.weight"})


TRANSPOSES = [
    (ATEN.t.default,),
    (ATEN.permute.default, [1, 0]),
    (ATEN.transpose.int, 0, -1),
    (ATEN.swapaxes.default, 1, 0),
]


@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_a_product_with_a_transpose_is_a_linear_layer_of_the_matrix(transpose):
    graph = Products()
    operator, *axes = transpose
    turned = graph.call(operator, graph.w, *axes)
    node = graph.call(ATEN.mm.default, graph.x, turned)
    (layer,) = graph.layers()
    assert layer.node is node
    assert (layer.path, layer.is_transposed, layer.reason) == (
        "head.weight",
        False,
        None,
    )
    assert layer.weight is MATRIX


def test_axes_that_stay_are_no_transposition():
    graph = Products()
    same = graph.call(ATEN.permute.default, graph.w, [0, 1])
    graph.call(ATEN.mm.default, graph.x, same)
    (layer,) = graph.layers()
    assert layer.is_transposed
    assert layer.convolution.weight_shape == (3, 5)


def test_a_weight_that_is_computed_goes_by_the_name_of_its_module():
    graph = Products()
    doubled = graph.call(ATEN.mul.Tensor, graph.w, 2)
    node = graph.call(ATEN.linear.default, graph.x, doubled)
    node.meta["nn_module_stack"] = {"0": ("", "Net"), "1": ("body.0", "Linear")}
    (layer,) = graph.layers()
    assert layer.path == "body.0.weight"
    assert torch.equal(layer.weight, 2 * MATRIX)


def test_products_of_weights_alone_are_no_layers():
    graph = Products()
    square = graph.call(ATEN.mm.default, graph.w, graph.call(ATEN.t.default, graph.w))
    graph.call(ATEN.mm.default, graph.x, square)
    constants = graph.constants
    nodes = list(graph.graph.nodes)
    (layer,) = layer_nodes(nodes, constants, {"w": "head.weight"})
    assert torch.equal(layer.weight, MATRIX @ MATRIX.t())


def test_weights_that_other_operators_multiply_by_are_known():
    graph = Products()
    view = graph.call(ATEN.unsqueeze.default, graph.w, 0)
    graph.call(ATEN.bmm.default, graph.x, view)
    graph.call(ATEN.linear.default, graph.x, graph.w)
    constants = graph.constants
    nodes = list(graph.graph.nodes)
    layers = layer_nodes(nodes, constants, {})
    assert weights_elsewhere(nodes, constants, layers) == {tensor_key(MATRIX)}
    assert weights_elsewhere(nodes[:2], constants, layers) == set()

"""The layers of a graph that int8 applies to, and the sites that they stand in."""

import pytest
from onnx import TensorProto, helper

from worker.engine.formats.onnx.int8.layers import (
    QuantisableLayer,
    node_sites,
    quantisable_layers,
    why_not_int8,
    without_factor,
)
from worker.engine.numerics.convolution import Convolution


def node(weight, kind="Conv", name="", **attributes):
    return helper.make_node(
        kind, ["x", weight], [f"{weight} y"], name=name, **attributes
    )


def model(*nodes, **weights):
    tensors = []
    for name, dims in weights.items():
        tensors.append(TensorProto(name=name, dims=dims, data_type=TensorProto.FLOAT))
    return helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))


def test_a_site_has_the_name_of_its_node_or_else_of_its_weight():
    graph = model(
        node("a", name="stem"),
        node("b"),
        node("c", name="twice"),
        node("d", name="twice"),
        helper.make_node("Relu", ["x"], ["y"], name="relu"),
    )
    assert node_sites(graph) == ["stem", "b", "c", "d", None]


def test_layers_in_the_place_of_a_site_have_its_name():
    graph = model(
        node("w_branch1_factor1", name="stem_branch1_factor1"),
        node("w_branch1_factor2", name="stem_branch1_factor2"),
        node("w", name="stem"),
    )
    assert node_sites(graph) == ["stem", "stem", "stem"]


def test_nodes_that_use_a_weight_in_two_ways_are_two_sites():
    graph = model(
        node("w", name="first", strides=[1, 1]),
        node("w", name="second", strides=[2, 2]),
        node("w", name="again", strides=[1, 1]),
        node("v", strides=[1, 1]),
        node("v", strides=[2, 2]),
    )
    assert node_sites(graph) == ["first", "second", "first", "v", "v_2"]


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("w_factor1", "w"),
        ("w_branch2_factor1_3", "w"),
        ("w_factors", "w_factors"),
        ("w", "w"),
    ],
)
def test_the_ending_of_a_factor_is_left_out(name, site):
    assert without_factor(name) == site


def test_dense_layers_with_stored_floats_are_quantisable():
    graph = model(
        node("dense", name="1"),
        node("depthwise", name="2", group=8),
        node("grouped", name="3", group=4),
        node("volume", name="4"),
        node("unknown", name="5"),
        node("matrix", "MatMul", name="6/MatMulAddFusion"),
        node("stack", "MatMul", name="7"),
        dense=(8, 4, 3, 3),
        depthwise=(8, 1, 3, 3),
        grouped=(8, 2, 3, 3),
        volume=(8, 4, 3, 3, 3),
        matrix=(8, 4),
        stack=(2, 8, 4),
    )
    layers = quantisable_layers(graph, {"1": "stem"})
    assert layers == [
        QuantisableLayer("1", "stem"),
        QuantisableLayer("2", "2"),
        QuantisableLayer("6/MatMulAddFusion", "6"),
    ]


def geometry(shape, groups=1, **members):
    axes = len(shape) - 2
    return Convolution(
        shape, (1,) * axes, ((0, 0),) * axes, (1,) * axes, groups, **members
    )


@pytest.mark.parametrize(
    ("convolution", "reason"),
    [
        (geometry((8, 4, 3, 3)), None),
        (geometry((8, 1, 3, 3), 8), None),
        (geometry((8, 4)), None),
        (geometry((8, 2, 3, 3), 4), "grouped"),
        (geometry((8, 4, 3, 3, 3)), "at most 2 spatial axes"),
        (geometry((8, 4, 3, 3), transposed=True), "transposed"),
    ],
)
def test_one_layer_that_stays_keeps_all_of_a_site_in_float(convolution, reason):
    answer = why_not_int8([geometry((4, 4, 1, 1)), convolution])
    assert answer is None if reason is None else reason in answer

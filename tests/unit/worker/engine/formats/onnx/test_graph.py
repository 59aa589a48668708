"""Queries of graphs, their bodies and their tensors."""

import numpy as np
import pytest
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    helper,
    numpy_helper,
)

from worker.engine.formats.onnx import graph as queries

NODE = helper.make_node(
    "Conv",
    ["x", "w"],
    ["y"],
    strides=[2, 1],
    group=4,
    alpha=0.5,
    auto_pad="VALID",
    value=TensorProto(name="t"),
)


def test_attributes_have_their_types_and_defaults():
    assert queries.integers(NODE, "strides") == (2, 1)
    assert queries.integers(NODE, "pads") is None
    assert (queries.integer(NODE, "group", 1), queries.integer(NODE, "axis", 1)) == (
        4,
        1,
    )
    assert queries.number(NODE, "alpha", 1.0) == 0.5
    assert queries.number(NODE, "beta", 1.0) == 1.0
    assert queries.text(NODE, "auto_pad", "NOTSET") == "VALID"
    assert queries.text(NODE, "mode", "none") == "none"
    assert queries.tensor_of(NODE, "value").name == "t"
    assert queries.tensor_of(NODE, "group") is None


def test_a_damaged_text_is_no_error():
    attribute = AttributeProto(name="mode", type=AttributeProto.STRING, s=b"\xff")
    assert queries.text(NodeProto(attribute=[attribute]), "mode", "") == "\ufffd"


@pytest.mark.parametrize(
    ("versions", "newest"),
    [([("", 13), ("ai.onnx", 17), ("acme", 99)], 17), ([("acme", 1)], 0)],
)
def test_the_newest_version_of_onnx_counts(versions, newest):
    entries = [helper.make_opsetid(*each) for each in versions]
    assert queries.own_opset(ModelProto(opset_import=entries)) == newest


def tensor(name):
    return TensorProto(name=name)


def sparse(name):
    return SparseTensorProto(values=tensor(name), indices=tensor(f"{name} at"))


def constant(name, domain=""):
    return helper.make_node("Constant", [], [name], domain=domain, value=tensor(name))


INNER = GraphProto(
    node=[helper.make_node("Neg", ["x"], ["n"], name="inner"), constant("deep")],
    initializer=[tensor("own")],
    output=[helper.make_empty_tensor_value_info("n")],
)
BRANCH = GraphProto(
    node=[helper.make_node("Loop", ["c"], ["l"], body=INNER)],
    output=[helper.make_empty_tensor_value_info("l")],
)
WHOLE = GraphProto(
    node=[
        helper.make_node("If", ["c"], ["y"], then_branch=BRANCH),
        constant("k"),
        constant("of another", "acme"),
    ],
    initializer=[tensor("w")],
    sparse_initializer=[sparse("s")],
    input=[helper.make_empty_tensor_value_info("x")],
    output=[helper.make_empty_tensor_value_info("y")],
)


def test_graphs_and_nodes_are_walked_to_any_depth():
    assert list(queries.all_graphs(WHOLE)) == [WHOLE, BRANCH, INNER]
    kinds = [node.op_type for node in queries.all_nodes(WHOLE.node)]
    assert kinds == ["If", "Loop", "Neg", "Constant", "Constant", "Constant"]
    assert list(queries.subgraphs(WHOLE.node[0])) == [BRANCH]


def test_tensors_are_those_of_the_main_graph_or_all_others():
    function = helper.make_function("acme", "f", [], ["k"], [constant("in f")], [])
    model = ModelProto(graph=WHOLE, functions=[function])
    model.training_info.add().algorithm.CopyFrom(GraphProto(initializer=[tensor("a")]))
    main = [each.name for each in queries.main_tensors(model)]
    nested = [each.name for each in queries.nested_tensors(model)]
    assert main == ["w", "k"]
    assert sorted(nested) == sorted(
        ["s", "s at", "deep", "own", "of another", "in f", "a"]
    )


def test_sparse_tensors_of_attributes_are_nested():
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.add(name="sparse_value").sparse_tensor.CopyFrom(sparse("one"))
    node.attribute.add(name="more").sparse_tensors.append(sparse("list"))
    node.attribute.add(name="all").tensors.append(tensor("dense"))
    names = {
        each.name
        for each in queries.nested_tensors(ModelProto(graph=GraphProto(node=[node])))
    }
    assert names == {"one", "one at", "list", "list at", "dense"}


def test_names_and_uses_are_counted_in_bodies_too():
    assert queries.stored_names(WHOLE) == {"w", "s"}
    assert queries.names(WHOLE) >= {"x", "y", "w", "s", "k", "l", "n", "own", "inner"}
    assert queries.uses(WHOLE) == {"c": 2, "x": 1, "n": 1, "l": 1, "y": 1}


def test_a_fresh_name_is_used_from_then_on():
    used = {"conv", "conv_2"}
    names = [queries.fresh_name("conv", used) for _ in range(2)]
    assert names == ["conv_3", "conv_4"]
    assert used >= set(names)


def test_quantised_values_and_scales_are_known_by_their_operators():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "t"], ["y"]),
        helper.make_node("DequantizeLinear", ["", "u"], ["z"]),
    ]
    assert queries.quantised_names(GraphProto(node=nodes)) == ({"q"}, {"s", "t", "u"})


def test_an_array_is_a_tensor_of_the_main_graph():
    graph = GraphProto(initializer=[numpy_helper.from_array(np.ones(2), "w")])
    (own,) = queries.main_tensors(ModelProto(graph=graph))
    assert numpy_helper.to_array(own).tolist() == [1, 1]

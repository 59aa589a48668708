"""Weights that follow from parameters alone are computed, stored and replaced."""

import numpy as np
import pytest
from support.onnx.canonical import rewritten
from support.onnx.splitting import agree, opened_with_count, split_everywhere
from support.onnx.text import model, written

HEAD = "g (float[1, 8, 6, 6] x) => (float[1, 8, 4, 4] y)"
WEIGHT = "float[8, 8, 3, 3] v"
LISTS = (
    "a = Constant <value = int64[3] {1, 2, 3}> () b = Constant <value = int64[1] {0}> () "
    "c = Constant <value = int64[1] {8}> () "
)


@pytest.mark.parametrize(
    ("weights", "arithmetic"),
    [
        (f"{WEIGHT}, float[8, 1, 1, 1] g", "w = Mul(v, g)"),
        (f"{WEIGHT}, float[8, 1, 1, 1] g", "n = ReduceL2 <axes = [1, 2, 3]> (v) "
         "d = Div(v, n) w = Mul(d, g)"),
        (WEIGHT, "m = ReduceMean <axes = [1, 2, 3]> (v) w = Sub(v, m)"),
        ("float[4, 8, 3, 3] s, float[4, 8, 3, 3] t", "w = Concat <axis = 0> (s, t)"),
        ("float[9, 8, 3, 3] s", f"{LISTS} w = Slice(s, b, c, b)"),
        ("float[16, 8, 3, 3] s", "w, t = Split <axis = 0> (s)"),
        ("float[8, 9] s, float[9, 72] t", "p = MatMul(s, t) "
         "k = Constant <value = int64[4] {8, 8, 3, 3}> () w = Reshape(p, k)"),
        (WEIGHT, "n = Neg(v) w = Cast <to = 1> (n)"),
        (WEIGHT, "k = Constant <value_float = 0.5> () w = Mul(v, k)"),
    ],
    ids=["scale", "norm", "mean", "concat", "slice", "split", "product", "cast", "number"],
)  # fmt: skip
def test_a_computed_weight_is_replaced(tmp_path, weights, arithmetic):
    proto = model(f"{HEAD} <{weights}> {{ {arithmetic} y = Conv(x, w) }}")
    [site], artifact = rewritten(tmp_path, proto)
    assert (site.op, site.reason, site.weight_shape) == ("Conv", None, (8, 8, 3, 3))
    assert [node.op_type for node in artifact.graph.node] == ["Conv", "Conv"]
    assert len(artifact.graph.initializer) == 2


def test_parameters_with_another_use_stay(tmp_path):
    proto = model(
        f"{HEAD} <{WEIGHT}, float[8, 1, 1, 1] g> "
        "{ w = Mul(v, g) h = Conv(x, w) k = Squeeze(g) r = ReduceSum <keepdims = 0> (k) "
        "y = Add(h, r) }"
    )
    _, artifact = rewritten(tmp_path, proto)
    assert "g" in {tensor.name for tensor in artifact.graph.initializer}
    assert "v" not in {tensor.name for tensor in artifact.graph.initializer}


def test_products_of_parameters_that_are_no_weights_keep_their_cost(tmp_path):
    path = written(
        tmp_path,
        "g (float[6, 8] x) => (float[6, 8] y) <float[6, 3] t, float[3, 5] w, float[5, 8] v> "
        "{ h = MatMul(t, w) r = Relu(h) p = MatMul(r, v) y = Add(x, p) }",
    )
    _, before = opened_with_count(path)
    after = tmp_path / "after.onnx"
    assert len(split_everywhere(path, after)) == len(before.sites) == 2
    _, count = opened_with_count(after)
    assert len(count.sites) == 4
    agree(path, after, {"x": np.ones((6, 8), np.float32)})


def test_a_weight_of_run_time_is_left(tmp_path):
    proto = model(
        f"{HEAD} <{WEIGHT}> "
        "{ s = ReduceMean <axes = [1, 2, 3]> (x) w = Mul(v, s) y = Conv(x, w) }"
    )
    [site], artifact = rewritten(tmp_path, proto)
    assert site.reason == "its weight is computed at run time"
    assert [node.op_type for node in artifact.graph.node] == [
        "ReduceMean",
        "Mul",
        "Conv",
    ]


def test_a_model_of_an_old_ir_version_lists_the_weight_among_its_inputs(tmp_path):
    header = '<ir_version: 3, opset_import: ["": 9]>'
    proto = model(
        f"{header} {HEAD} <{WEIGHT}, float[8, 1, 1, 1] g> {{ w = Mul(v, g) y = Conv(x, w) }}"
    )
    for tensor in proto.graph.initializer:
        value = proto.graph.input.add(name=tensor.name)
        value.type.tensor_type.elem_type = tensor.data_type
        for size in tensor.dims:
            value.type.tensor_type.shape.dim.add(dim_value=size)
    [site], artifact = rewritten(tmp_path, proto)
    assert site.reason is None
    stored = {tensor.name for tensor in artifact.graph.initializer}
    assert {value.name for value in artifact.graph.input} == {"x", *stored}

"""Gemm and MatMul as linear layers: which are replaced, and which are left with a reason."""

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.chains import with_bias
from support.onnx.replacing import replaced
from support.onnx.text import model, written

from worker.engine.formats import open_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replaced")


GEMM = """<ir_version: 4, opset_import: ["": {opset}]>
    g (float[{rows}] x) => (float[2, 5] y) <float[{matrix}] w, float[{bias}] b> {{
        [fc] y = Gemm <transA = {a}, transB = {b}, alpha = {alpha}, beta = {beta}>
            (x, w{used}) }}"""


@pytest.mark.parametrize(
    ("opset", "shape"),
    [
        (7, "5"),
        (7, "1, 5"),
        (9, "1"),
        (11, "5"),
        (11, None),
        (13, "1, 1"),
        (21, "5"),
        (21, None),
    ],
)
@given(
    transposed=st.tuples(st.booleans(), st.booleans()),
    scales=st.tuples(st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 2.0])),
)
@settings(max_examples=5, deadline=None)
def test_a_gemm_becomes_gemms(folder, opset, shape, transposed, scales):
    text = GEMM.format(
        opset=opset,
        rows="3, 2" if transposed[0] else "2, 3",
        matrix="5, 3" if transposed[1] else "3, 5",
        bias=shape or "5",
        used="" if shape is None else ", b",
        a=int(transposed[0]),
        b=int(transposed[1]),
        alpha=scales[0],
        beta=scales[1],
    )
    x = {
        "x": np.random.default_rng(1)
        .standard_normal((3, 2) if transposed[0] else (2, 3))
        .astype(np.float32)
    }
    for value in (0, 0.5):
        _, after = replaced(
            folder,
            model(text),
            x,
            lambda layer: with_bias(layer, value),  # noqa: B023
            plus=value,
        )
        assert [node.op_type for node in after.graph.node] == ["Gemm", "Gemm"]
        assert after.graph.node[1].name == "fc"


@pytest.mark.parametrize("rows", ["3", "2, 3", "2, 4, 3", "1, 2, 4, 3"])
def test_a_product_with_a_stored_matrix_becomes_two_and_a_sum(tmp_path, rows):
    shape = tuple(map(int, rows.split(", ")))
    result = ", ".join(map(str, (*shape[:-1], 5)))
    proto = model(
        f"g (float[{rows}] x) => (float[{result}] y) <float[3, 5] w> {{ [fc] y = MatMul(x, w) }}"
    )
    x = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    assert site.macs == site.macs_of([site.convolution]) == prod(shape) * 5
    _, after = replaced(tmp_path, proto, x)
    assert [node.op_type for node in after.graph.node] == ["MatMul", "MatMul"]
    _, after = replaced(
        tmp_path, proto, x, lambda layer: with_bias(layer, 0.5), plus=0.5
    )
    assert [node.op_type for node in after.graph.node] == ["MatMul", "MatMul", "Add"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Gemm(x, w, c)", "its bias is computed at run time"),
        ("y = Gemm(x, w, r)", "its bias is not the same for every row"),
        ("y = Gemm(x, w, s)", "its bias is not the same for every row"),
        ("y = MatMul(v, x)", "its weight is the left factor of the product"),
        ("y = MatMul(x, u)", "its weight is not a matrix"),
        (
            "i = Cast <to = 6> (x)  j = MatMul(i, k)  y = Cast <to = 1> (j)",
            "its weight is of type int32",
        ),
    ],
)
def test_products_that_are_no_linear_layers_are_left_with_the_reason(
    tmp_path, body, reason
):
    proto = model(f"""g (float[2, 3] x, float[5] c) => (float y)
        <float[3, 5] w, float[2, 5] r, float[2, 1] s, float[4, 2] v, float[6, 3, 5] u,
            int32[3, 5] k> {{ {body} }}""")
    opened = open_model("onnx", written(tmp_path, proto))
    assert [site.reason for site in opened.count(opened.bind(None)).sites] == [reason]


def test_a_matrix_that_is_used_as_it_is_and_transposed_is_left(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) <float[3, 3] w> {
        y = Gemm(x, w)  z = Gemm <transB = 1> (y, w) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    sites = opened.count(opened.bind(None)).sites
    assert [site.macs for site in sites] == [18, 18]
    assert {site.reason for site in sites} == {
        "its weight is shared with nodes that use it differently"
    }

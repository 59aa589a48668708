"""An Attention with projections becomes a linear layer and the heads, and computes what it did."""

import numpy as np
import pytest
from support.onnx.canonical import rewritten
from support.onnx.text import model, outputs, written

from worker.engine.formats import open_model

HEADER = '<ir_version: 8, opset_import: ["": {}, "com.microsoft": 1]>'


def attention(attributes, operands="x, w, b", width=24, inputs="", opset=17):
    return model(
        f"{HEADER.format(opset)} g (float[2, 5, 8] x{inputs}) => (float[2, 5, n] y) "
        f"<float[8, {width}] w, float[{width}] b> "
        f"{{ y = com.microsoft.Attention <num_heads = 2{attributes}> ({operands}) }}"
    )


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    ("attributes", "width"),
    [("", 24), (", unidirectional = 1", 24), (", scale = 0.3", 24),
     (", qkv_hidden_sizes = [8, 8, 12]", 28)],
)  # fmt: skip
def test_its_projections_are_one_linear_layer(tmp_path, attributes, width, opset):
    sites, artifact = rewritten(
        tmp_path, attention(attributes, width=width, opset=opset)
    )
    value_width = width - 16
    assert [(site.op, site.macs) for site in sites] == [
        ("MatMul", 10 * 8 * width),
        ("MultiHeadAttention", 2 * 5 * 5 * (8 + value_width)),
    ]
    assert [node.op_type for node in artifact.graph.node] == [
        "MatMul",
        "MatMul",
        "Add",
        "Split",
        "MultiHeadAttention",
    ]


def test_a_mask_of_batch_and_columns_is_kept(tmp_path):
    proto = attention("", "x, w, b, m", inputs=", int32[2, 5] m")
    before = written(tmp_path, proto)
    opened = open_model("onnx", before)
    assert opened.count(opened.bind(None)).sites[0].op == "MatMul"
    opened.save(tmp_path / "after.onnx")
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
    [expected] = outputs(before, {"x": x, "m": mask})
    [output] = outputs(tmp_path / "after.onnx", {"x": x, "m": mask})
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("columns", [(3, 5), (5, 1)])
def test_lengths_that_are_summed_from_a_mask_are_kept(tmp_path, columns):
    proto = model(
        f"{HEADER.format(17)} g (float[2, 5, 8] x, int32[2, 5] m) => (float[2, 5, 8] y) "
        "<float[8, 24] w, float[24] b, int64[1] axes = {1}> "
        "{ lengths = ReduceSum <keepdims = 0> (m, axes) "
        "y = com.microsoft.Attention <num_heads = 2> (x, w, b, lengths) }"
    )
    before = written(tmp_path, proto)
    opened = open_model("onnx", before)
    assert opened.count(opened.bind(None)).sites[0].op == "MatMul"
    opened.save(tmp_path / "after.onnx")
    mask = np.array([[each < length for each in range(5)] for length in columns])
    x = np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32)
    inputs = {"x": x, "m": mask.astype(np.int32)}
    [expected] = outputs(before, inputs)
    [output] = outputs(tmp_path / "after.onnx", inputs)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_with_a_list_of_unknown_meaning_it_is_counted_and_stays(tmp_path):
    proto = attention("", "x, w, b, m", inputs=", int32[2] m")
    opened = open_model("onnx", written(tmp_path, proto))
    [site] = opened.count(opened.bind(None)).sites
    assert (site.op, site.macs) == ("Attention", 10 * 8 * 24 + 2 * 5 * 5 * 16)

"""Fused operators become a layer, a sum and an activation, and compute what they did."""

import pytest
from support.onnx.canonical import rewritten
from support.onnx.text import model

HEADER = '<ir_version: 8, opset_import: ["": {}, "com.microsoft": 1]>'
FUSED = "com.microsoft.FusedConv"
PADS = "pads = [1, 1, 1, 1]"


def convolution(attributes, operands="x, w, b", opset=17):
    return model(
        f"{HEADER.format(opset)} g (float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y) "
        f"<float[8, 8, 3, 3] w, float[8] b> {{ y = {FUSED} <{attributes}> ({operands}) }}"
    )


def product(op, attributes, operands="x, w"):
    return model(
        f"{HEADER.format(17)} g (float[5, 8] x) => (float[5, 8] y) <float[8, 8] w, float[8] b> "
        f"{{ y = com.microsoft.{op} <{attributes}> ({operands}) }}"
    )


@pytest.mark.parametrize(
    ("activation", "parameters", "after"),
    [
        ("Relu", "", ["Relu"]),
        ("Sigmoid", "", ["Sigmoid"]),
        ("Tanh", "", ["Tanh"]),
        ("LeakyRelu", "0.3", ["LeakyRelu"]),
        ("HardSigmoid", "0.3, 0.4", ["HardSigmoid"]),
        ("Clip", "-0.5, 0.7", ["Clip"]),
    ],
)
def test_a_fused_activation_is_a_node_behind_the_layers(
    tmp_path, activation, parameters, after
):
    attributes = f'{PADS}, activation = "{activation}"'
    if parameters:
        attributes += f", activation_params = [{parameters}]"
    [site], artifact = rewritten(tmp_path, convolution(attributes))
    assert (site.op, site.reason) == ("Conv", None)
    assert [node.op_type for node in artifact.graph.node] == ["Conv", "Conv", *after]


def test_a_residual_is_added_before_the_activation(tmp_path):
    proto = convolution(f'{PADS}, activation = "Relu"', "x, w, b, x")
    [site], artifact = rewritten(tmp_path, proto)
    assert site.reason is None
    assert [node.op_type for node in artifact.graph.node] == [
        "Conv",
        "Conv",
        "Add",
        "Relu",
    ]


def test_an_older_clip_has_its_bounds_as_attributes(tmp_path):
    proto = convolution(
        f'{PADS}, activation = "Clip", activation_params = [-0.5, 0.7]', opset=9
    )
    _, artifact = rewritten(tmp_path, proto)
    assert [len(node.input) for node in artifact.graph.node] == [2, 3, 1]


@pytest.mark.parametrize(
    ("op", "attributes", "operands", "after"),
    [
        (
            "FusedGemm",
            'activation = "Relu", alpha = 0.5, transB = 1',
            "x, w, b",
            ["Relu"],
        ),
        (
            "FusedGemm",
            'activation = "LeakyRelu", activation_alpha = 0.3',
            "x, w, b",
            ["LeakyRelu"],
        ),
        ("FusedMatMul", "alpha = 0.5, transB = 1", "x, w", ["Mul"]),
        ("FusedMatMul", "transB = 1", "x, w", []),
    ],
)
def test_a_fused_product_is_a_linear_layer(tmp_path, op, attributes, operands, after):
    [site], artifact = rewritten(tmp_path, product(op, attributes, operands))
    layer = "Gemm" if op == "FusedGemm" else "MatMul"
    assert (site.op, site.reason) == (layer, None)
    assert [node.op_type for node in artifact.graph.node] == [layer, layer, *after]


def test_a_fused_product_with_a_transposed_input_is_counted_and_stays(tmp_path):
    proto = model(
        f"{HEADER.format(17)} g (float[8, 5] x) => (float[5, 8] y) <float[8, 8] w> "
        "{ y = com.microsoft.FusedMatMul <transA = 1> (x, w) }"
    )
    [site], artifact = rewritten(tmp_path, proto)
    assert site.macs == 5 * 8 * 8
    assert "fused" in site.reason
    assert [node.op_type for node in artifact.graph.node] == ["FusedMatMul"]

"""Convolutions and pools of any geometry, against ONNX Runtime."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx.programs import agree, program_of, runtime_operators, values_of
from support.onnx.text import outputs, written


@st.composite
def windows(draw):
    """A pool, a convolution or a transposed one, of one to three axes, in any geometry that ONNX
    Runtime takes.
    """
    operator = draw(
        st.sampled_from(["MaxPool", "AveragePool", "LpPool", "Conv", "ConvTranspose"])
    )
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel = per_axis(1, 3)
    strides = per_axis(1, 3)
    attributes = {"kernel_shape": kernel, "strides": strides}
    rule = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if rule in ("NOTSET", "VALID"):
        attributes["dilations"] = per_axis(1, 2)
    if rule == "NOTSET":
        attributes["pads"] = [
            draw(st.integers(0, extent - 1)) for extent in kernel + kernel
        ]
    else:
        attributes["auto_pad"] = rule
    if operator in ("MaxPool", "AveragePool", "LpPool") and rule == "NOTSET":
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if operator == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if operator == "LpPool":
        attributes["p"] = draw(st.integers(1, 3))
    if operator == "ConvTranspose" and rule == "NOTSET":
        attributes["output_padding"] = [
            draw(st.integers(0, stride - 1)) for stride in strides
        ]
    if "Conv" in operator:
        attributes["group"] = draw(st.integers(1, 2))
    if (
        rule.startswith("SAME") and operator != "ConvTranspose"
    ):  # ONNX Runtime refuses to pool with more
        attributes["strides"] = [
            min(pair) for pair in zip(strides, kernel, strict=True)
        ]
    size = [2 * extent - 1 + draw(st.integers(0, 5)) for extent in kernel]
    return operator, attributes, (draw(st.integers(1, 2)), 4, *size)


@settings(max_examples=100, deadline=None)
@given(windows())
def test_windows_move_as_in_the_runtime(tmp_path_factory, example):
    operator, attributes, shape = example
    names = ["x"]
    weights = []
    if "Conv" in operator:
        outer = 4 if operator == "ConvTranspose" else 6
        generator = np.random.default_rng(1)
        inner = (
            6 // attributes["group"]
            if operator == "ConvTranspose"
            else 4 // attributes["group"]
        )
        weight = generator.standard_normal(
            (outer, inner, *attributes["kernel_shape"])
        ).astype(np.float32)
        bias = generator.standard_normal(6).astype(np.float32)
        weights = [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(bias, "b"),
        ]
        names += ["w", "b"]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    proto = helper.make_model(
        graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)]
    )
    path = written(tmp_path_factory.mktemp("windows"), proto)
    x = {"x": np.random.default_rng(2).standard_normal(shape).astype(np.float32)}
    program = program_of(path)
    assert not runtime_operators(program)
    agree(values_of(program, x), outputs(path, x), rtol=1e-3)

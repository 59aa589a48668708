"""Resizes of any mode, against ONNX Runtime."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx.programs import agree, program_of, runtime_operators, values_of
from support.onnx.text import outputs, written


@st.composite
def resizings(draw):
    attributes = {"mode": draw(st.sampled_from(["nearest", "linear", "cubic"]))}
    coordinates = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    coordinates += [] if attributes["mode"] == "nearest" else ["half_pixel_symmetric"]
    attributes["coordinate_transformation_mode"] = draw(st.sampled_from(coordinates))
    if attributes["mode"] == "nearest":
        rules = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        attributes["nearest_mode"] = draw(st.sampled_from(rules))
    if attributes["mode"] == "cubic":
        attributes["cubic_coeff_a"] = draw(st.sampled_from([-0.75, -0.5]))
        attributes["exclude_outside"] = draw(st.integers(0, 1))
    size = draw(st.lists(st.integers(1, 7), min_size=2, max_size=2))
    # half way between two elements, the last bit decides unless factors are exact
    has_ties = attributes.get("nearest_mode", "").startswith("round")
    has_ties &= attributes["coordinate_transformation_mode"] != "align_corners"
    if not has_ties and draw(st.booleans()):
        return (
            attributes,
            size,
            "sizes",
            [1, 2, *draw(st.lists(st.integers(1, 15), min_size=2, max_size=2))],
        )
    choices = [0.5, 1.0, 2.0, 3.0] if has_ties else [0.5, 0.6, 1.0, 1.5, 1.7, 2.0, 3.0]
    factors = draw(st.lists(st.sampled_from(choices), min_size=2, max_size=2))
    factors = [
        max(factor, 1 / length) for factor, length in zip(factors, size, strict=True)
    ]
    return attributes, size, "scales", [1.0, 1.0, *factors]


@settings(max_examples=100, deadline=None)
@given(resizings())
def test_resizes_agrees_with_the_runtime(tmp_path_factory, example):
    attributes, size, by, target = example
    output_size = np.array(target, np.int64 if by == "sizes" else np.float32)
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize",
                ["x", "", "", by] if by == "sizes" else ["x", "", by],
                ["y"],
                **attributes,
            )
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(output_size, by)],
    )
    proto = helper.make_model(
        graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)]
    )
    path = written(tmp_path_factory.mktemp("resize"), proto)
    x = {
        "x": np.random.default_rng(2).standard_normal((1, 2, *size)).astype(np.float32)
    }
    program = program_of(path)
    assert not runtime_operators(program)
    agree(values_of(program, x), outputs(path, x), rtol=1e-3)

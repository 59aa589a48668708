"""ONNX models as programs: every operator against ONNX's own cases, every form of it against ONNX Runtime."""

import warnings
from collections import defaultdict
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from digits import MODELS, split
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from support.onnx_text import model, outputs, written

from convpress.refusal import Refusal
from worker.engine.formats import open_model
from worker.engine.formats.onnx.operators import TABLE
from worker.engine.program import NoProgramError, run

NEWEST_OPSET_OF_THE_RUNTIME = 26
UNLIKE_THE_RUNTIME = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
RANDOM = {"test_training_dropout", "test_training_dropout_mask"} | {
    f"test_training_dropout_default{mask}" for mask in ("", "_mask")
}


def program_of(path):
    return open_model("onnx", path).program()


def left_to_the_runtime(program):
    return [step.op for step in program.steps if step.run.__qualname__.startswith("single")]


def values_of(program, inputs):
    with torch.no_grad():
        found = run(
            program, {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
        )
    return [value.numpy() for value in found]


def agree(found, expected, rtol=1e-4, atol=1e-5):
    for one, other in zip(found, expected, strict=True):
        wide = np.float32 if other.dtype.name in ("float16", "bfloat16") else other.dtype
        assert one.dtype == wide
        assert one.shape == other.shape
        loose = 1e-2 if wide != other.dtype else 0.0
        np.testing.assert_allclose(
            one, other.astype(wide), rtol=max(rtol, loose), atol=max(atol, loose)
        )


def as_the_runtime(tmp_path, text, shapes, opset=17, native=True, seed=0):
    """Check the whole model against ONNX Runtime; return the program."""
    path = written(tmp_path, text, header=f'<ir_version: 8, opset_import: ["": {opset}]>')
    generator = np.random.default_rng(seed)
    inputs = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()
    }
    program = program_of(path)
    agree(values_of(program, inputs), outputs(path, inputs))
    assert bool(left_to_the_runtime(program)) != native
    return program


@pytest.fixture(scope="module")
def cases():
    """ONNX's own cases of one node, by operator."""
    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases of overflow and division by zero, made on import
        for case in load_model_tests(kind="node"):
            nodes = case.model.graph.node
            if (
                len(nodes) == 1
                and not nodes[0].domain
                and case.name not in RANDOM | UNLIKE_THE_RUNTIME
            ):
                found[nodes[0].op_type].append(case)
    return found


@pytest.mark.parametrize("operator", sorted(TABLE))
def test_the_table_gives_what_onnx_expects(tmp_path, cases, operator):
    in_torch = 0
    for case in cases[operator]:
        proto = onnx.ModelProto()
        proto.CopyFrom(case.model)
        proto.ir_version = min(proto.ir_version, 10)
        for entry in proto.opset_import:
            entry.version = min(max(entry.version, 7), NEWEST_OPSET_OF_THE_RUNTIME)
        try:
            program = program_of(written(tmp_path, proto))
        except (
            NoProgramError,
            Refusal,
        ):  # types that ONNX Runtime cannot take, or that cannot be handed on
            continue
        in_torch += not left_to_the_runtime(program)
        for given_, expected in case.data_sets:
            given_, expected = (
                [_array(value) for value in values] for values in (given_, expected)
            )
            if all(
                isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
                for value in (*given_, *expected)
            ):
                with np.errstate(all="ignore"):
                    found = values_of(program, dict(zip(program.inputs, given_, strict=True)))
                try:
                    agree(found, expected, rtol=1e-3)
                except AssertionError as error:
                    raise AssertionError(case.name) from error
    assert in_torch or operator == "GlobalLpPool"  # of which ONNX has no case


def _array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


FORMS = [
    # opset, nodes, shape of x: forms of operators that ONNX's cases, written for newer opsets, leave out
    (12, "y = Softmax (x)", (2, 3, 4, 5)),
    (11, "y = Softmax <axis = 2> (x)", (2, 3, 4, 5)),
    (12, "y = LogSoftmax <axis = -2> (x)", (2, 3, 4)),
    (13, "y = LogSoftmax (x)", (2, 3, 4)),
    (9, "y = Slice <starts = [1, -3], ends = [9, -1], axes = [0, 2]> (x)", (3, 4, 5)),
    (9, "y = Slice <starts = [1, 0], ends = [2, 2]> (x)", (3, 4, 5)),
    (10, 'y = Pad <pads = [0, 1, 2, 0], mode = "reflect"> (x)', (3, 4)),
    (10, "y = Pad <pads = [1, 0, 0, 2], value = 3.5> (x)", (3, 4)),
    (10, 'y = Pad <pads = [1, 0, 0, -2], mode = "edge"> (x)', (3, 4)),
    (10, 'y = Pad <pads = [0, 0, 2, 3, 0, 0, 1, 4], mode = "reflect"> (x)', (1, 2, 5, 6)),
    (10, "y = Clip <min = -0.5, max = 0.5> (x)", (3, 4)),
    (10, "y = Clip <max = 0.5> (x)", (3, 4)),
    (10, "y = Clip (x)", (3, 4)),
    (
        12,
        "a, b, c = Split <axis = 1, split = [1, 3, 2]> (x) y = Concat <axis = 1> (c, a, b)",
        (2, 6),
    ),
    (12, "a, b = Split <axis = -1> (x) y = Concat <axis = 0> (b, a)", (2, 6)),
    (18, "a, b, c = Split <axis = 1, num_outputs = 3> (x) y = Concat <axis = 1> (c, a, b)", (2, 7)),
    (12, "s = Squeeze <axes = [0, -1]> (x) y = Unsqueeze <axes = [0, 3]> (s)", (1, 3, 4, 1)),
    (12, "y = Squeeze (x)", (1, 3, 4, 1)),
    (12, "y = ReduceSum <axes = [1, -1], keepdims = 0> (x)", (2, 3, 4)),
    (12, "y = ReduceSum (x)", (2, 3, 4)),
    (17, "y = ReduceMean <axes = [-1]> (x)", (2, 3, 4)),
    (17, "y = ReduceMax <axes = [0, 1]> (x)", (2, 3, 4)),
    (17, "y = ReduceL2 (x)", (2, 3, 4)),
    (9, "y, i = TopK <axis = 1, k = 2> (x)", (3, 4)),
    (8, "y = Upsample <scales = [1., 1., 2., 3.]> (x)", (1, 2, 3, 4)),
    (8, 'y = Upsample <mode = "linear", scales = [1., 1., 2., 2.]> (x)', (1, 2, 3, 4)),
    (9, "y = Upsample (x, up)", (1, 2, 3, 4)),
    (10, "y = Resize (x, down)", (1, 2, 5, 4)),
    (10, 'y = Resize <mode = "linear"> (x, down)', (1, 2, 5, 4)),
    (9, "y, m = Dropout (x)", (3, 4)),
    (8, "y = BatchNormalization (x, v, v, v, w)", (2, 3, 4)),
    (9, "y = BatchNormalization (x, v, v, v, w)", (2, 3)),
    (15, "y = BatchNormalization <epsilon = 0.1> (x, v, v, v, w)", (2, 3, 4, 5, 2)),
    (17, "y = GlobalLpPool <p = 3> (x)", (2, 3, 4, 5)),
    (17, "y = LRN <size = 5, alpha = 0.5, bias = 0.9> (x)", (2, 7, 4, 5)),
    (17, "y = InstanceNormalization (x, v, w)", (2, 3, 1)),
    (17, "y = Gemm <transA = 1, alpha = 0.5, beta = 2.0> (x, matrix, v)", (4, 2)),
    (17, "y = Gemm (x, matrix, v)", (2, 4)),
    (17, "y = Gemm (x, matrix)", (2, 4)),
    (17, "y = DepthToSpace <blocksize = 2> (x)", (1, 8, 2, 3)),
    (17, "y = SpaceToDepth <blocksize = 2> (x)", (1, 3, 4, 6)),
    (
        17,
        "y = MaxPool <kernel_shape = [3, 3], pads = [2, 2, 2, 2], strides = [2, 2]> (x)",
        (1, 2, 5, 6),
    ),
    (17, 'y = Einsum <equation = "...ij, jk -> ...ik"> (x, matrix)', (2, 3, 4)),
    (17, "c = Constant <value_ints = [0, 0, -1]> () y = Reshape (x, c)", (2, 3, 4)),
    (17, "s = Shape <start = 1> (x) r = ConstantOfShape (s) y = Add (x, r)", (2, 3, 4)),
    (17, "i = Constant <value_int = -1> () y = Gather <axis = 1> (x, i)", (2, 3)),
    (17, "y = Transpose (x)", (2, 3, 4)),
    (17, "p = Constant <value_float = 2.0> () y = Pow (x, p)", (2, 3)),
]


@pytest.mark.parametrize(("opset", "nodes", "shape"), FORMS)
def test_older_and_rarer_forms_of_operators(tmp_path, opset, nodes, shape):
    weights = (
        "float[3] v = {1.0, 2.0, 0.5}, float[3] w = {0.5, 1.5, 2.5}, float[4, 3] matrix, "
        "float[4] up = {1.0, 1.0, 1.5, 2.5}, float[4] down = {1.0, 1.0, 0.6, 2.0}"
    )
    as_the_runtime(
        tmp_path,
        f"g (float{list(shape)} x) => (float y) <{weights}> {{ {nodes} }}",
        {"x": shape},
        opset,
    )


@st.composite
def windows(draw):
    """A pool, a convolution or a transposed one, of one to three axes, in any geometry that ONNX Runtime takes."""
    operator = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool", "Conv", "ConvTranspose"]))
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel, strides = per_axis(1, 3), per_axis(1, 3)
    attributes = {"kernel_shape": kernel, "strides": strides}
    rule = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if rule in ("NOTSET", "VALID"):
        attributes["dilations"] = per_axis(1, 2)
    if rule == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, extent - 1)) for extent in kernel + kernel]
    else:
        attributes["auto_pad"] = rule
    if operator in ("MaxPool", "AveragePool", "LpPool") and rule == "NOTSET":
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if operator == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if operator == "LpPool":
        attributes["p"] = draw(st.integers(1, 3))
    if operator == "ConvTranspose" and rule == "NOTSET":
        attributes["output_padding"] = [draw(st.integers(0, stride - 1)) for stride in strides]
    if "Conv" in operator:
        attributes["group"] = draw(st.integers(1, 2))
    if (
        rule.startswith("SAME") and operator != "ConvTranspose"
    ):  # ONNX Runtime refuses to pool with more
        attributes["strides"] = [min(pair) for pair in zip(strides, kernel, strict=True)]
    size = [2 * extent - 1 + draw(st.integers(0, 5)) for extent in kernel]
    return operator, attributes, (draw(st.integers(1, 2)), 4, *size)


@settings(max_examples=100, deadline=None)
@given(windows())
def test_windows_move_as_in_the_runtime(tmp_path_factory, found):
    operator, attributes, shape = found
    names, weights = ["x"], []
    if "Conv" in operator:
        outer = 4 if operator == "ConvTranspose" else 6
        generator = np.random.default_rng(1)
        inner = (
            6 // attributes["group"] if operator == "ConvTranspose" else 4 // attributes["group"]
        )
        weight = generator.standard_normal((outer, inner, *attributes["kernel_shape"])).astype(
            np.float32
        )
        bias = generator.standard_normal(6).astype(np.float32)
        weights = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
        names += ["w", "b"]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    proto = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)])
    path = written(tmp_path_factory.mktemp("windows"), proto)
    x = {"x": np.random.default_rng(2).standard_normal(shape).astype(np.float32)}
    program = program_of(path)
    assert not left_to_the_runtime(program)
    agree(values_of(program, x), outputs(path, x), rtol=1e-3)


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
    if draw(st.booleans()):
        return (
            attributes,
            size,
            "sizes",
            [1, 2, *draw(st.lists(st.integers(1, 15), min_size=2, max_size=2))],
        )
    factors = draw(
        st.lists(st.sampled_from([0.5, 0.6, 1.0, 1.5, 1.7, 2.0, 3.0]), min_size=2, max_size=2)
    )
    factors = [max(factor, 1 / length) for factor, length in zip(factors, size, strict=True)]
    return attributes, size, "scales", [1.0, 1.0, *factors]


@settings(max_examples=100, deadline=None)
@given(resizings())
def test_resizes_as_the_runtime(tmp_path_factory, found):
    attributes, size, by, target = found
    wanted = np.array(target, np.int64 if by == "sizes" else np.float32)
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize", ["x", "", "", by] if by == "sizes" else ["x", "", by], ["y"], **attributes
            )
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, *size))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(wanted, by)],
    )
    proto = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 19)])
    path = written(tmp_path_factory.mktemp("resize"), proto)
    x = {"x": np.random.default_rng(2).standard_normal((1, 2, *size)).astype(np.float32)}
    program = program_of(path)
    assert not left_to_the_runtime(program)
    agree(values_of(program, x), outputs(path, x), rtol=1e-3)


SAMPLES = ["plain.onnx", "batchnorm.onnx", "batchnorm_bn.onnx", "residual.onnx", "residual_bn.onnx"]


@pytest.mark.parametrize("file", SAMPLES)
def test_sample_models_say_the_same_and_name_their_sites(file):
    opened = open_model("onnx", MODELS / file)
    count = opened.count(opened.bind(None))
    program = opened.program()
    images = split()[1][0][:8].astype(np.float32)
    inputs = {program.inputs[0]: images}
    agree(values_of(program, inputs), outputs(MODELS / file, inputs))
    replaceable = [site.name for site in count.sites if site.reason is None]
    assert [step.site for step in program.steps if step.site] == replaceable
    for step in program.steps:
        assert step.site is None or len(step.takes) == len(step.gives) == 1
    norms = [step.norm for step in program.steps if step.norm]
    assert len(norms) == sum(
        node.op_type == "BatchNormalization" for node in onnx.load(MODELS / file).graph.node
    )
    for norm in norms:
        assert norm.mean.shape == norm.variance.shape == norm.weight.shape == norm.bias.shape


def test_a_site_step_is_its_layer_and_a_norm_step_its_norm():
    opened = open_model("onnx", MODELS / "batchnorm_bn.onnx")
    sites = {site.name: site for site in opened.count(opened.bind(None)).sites}
    steps = opened.program().steps
    site, norm = (
        next(step for step in steps if step.site),
        next(step for step in steps if step.norm),
    )
    layer = opened.layer(sites[site.site])
    x = torch.randn(2, layer.convolution.in_channels, 8, 8)
    weight, bias = (
        torch.from_numpy(layer.weight),
        None if layer.bias is None else torch.from_numpy(layer.bias),
    )
    padding = [before for before, _ in layer.convolution.padding]
    torch.testing.assert_close(
        site.run(x), (torch.conv2d(x, weight, bias, layer.convolution.stride, padding),)
    )
    y = torch.randn(2, len(norm.norm.mean), 4, 4)
    mean, variance, scale, shift = (
        value.reshape(-1, 1, 1)
        for value in (norm.norm.mean, norm.norm.variance, norm.norm.weight, norm.norm.bias)
    )
    expected = (y - mean) / torch.sqrt(variance + norm.norm.epsilon) * scale + shift
    torch.testing.assert_close(norm.run(y), (expected,))


CONV_NORM_RELU = """g (float[N, 3, 6, 6] x) => (float y) <float[4, 3, 3, 3] w, float[4] b,
    float[4] scale = {1.0, 2.0, 0.5, -1.0}, float[4] mean, float[4] variance = {1.0, 2.0, 0.5, 3.0}> {
    c = Conv <pads = [1, 0, 0, 1]> (x, w, b) n = BatchNormalization (c, scale, b, mean, variance) y = Relu (n) }"""


def test_gradients_reach_the_input_and_are_those_of_torch(tmp_path):
    path = written(tmp_path, CONV_NORM_RELU)
    program = open_model("onnx", path).program()
    stored = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
        for t in onnx.load(path).graph.initializer
    }
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    run(program, {"x": x})[0].square().sum().backward()
    other = x.detach().clone().requires_grad_()
    c = torch.conv2d(torch.nn.functional.pad(other, (0, 1, 1, 0)), stored["w"], stored["b"])
    n = torch.batch_norm(
        c, stored["scale"], stored["b"], stored["mean"], stored["variance"], False, 0.1, 1e-5, False
    )
    torch.relu(n).square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    assert x.grad.abs().max() > 0


def test_any_batch_runs_whatever_the_model_declares(tmp_path):
    path = written(tmp_path, CONV_NORM_RELU.replace("float[N,", "float[1,"))
    assert run(program_of(path), {"x": torch.randn(5, 3, 6, 6)})[0].shape == (5, 4, 5, 5)


def test_linear_sites_take_the_data_alone_unless_they_are_scaled(tmp_path):
    text = """g (float[N, 4] x) => (float y) <float[4, 4] w, float[4, 4] v, float[4] b> {
        a = Gemm <transB = 1> (x, w, b) c = Gemm <alpha = 2.0> (a, v, b) d = MatMul (c, w) y = MatMul (v, d) }"""
    path = written(tmp_path, text)
    opened = open_model("onnx", path)
    opened.count(opened.bind({"x": (4, 4)}))
    nodes = {"plain": ("a",), "scaled": ("c",), "product": ("d",), "turned": ("y",)}
    opened._counted = replace(opened._counted, nodes=nodes)
    program = opened.program()
    x = {"x": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)}
    agree(values_of(program, x), outputs(path, x))
    assert [(step.site, len(step.takes)) for step in program.steps] == [
        ("plain", 1),
        (None, 3),
        ("product", 1),
        (None, 2),
    ]


LEFT = [
    # the operator that is left, the model's output, its nodes
    ("com.microsoft::QuickGelu", "y", "y = com.microsoft.QuickGelu <alpha = 1.5> (x)"),
    ("Resize", "y", 'h = Relu (x) y = Resize <mode = "linear", antialias = 1> (h, , half)'),
    (
        "MaxPool",
        "z",
        "y, i = MaxPool <kernel_shape = [2, 2]> (x) f = Cast <to = 1> (i) z = Sub (y, f)",
    ),
    (
        "BatchNormalization",
        "z",
        "y, m, v = BatchNormalization <training_mode = 1> (x, two, two, mean, two) z = Add (m, v)",
    ),
    (
        "If",
        "y",
        """s = ReduceSum <keepdims = 0> (x) z = Constant <value_float = 0.0> () c = Greater (s, z) h = Relu (x)
        y = If (c) <then_branch = t () => (float p) { p = Mul (h, w) },
                    else_branch = e () => (float n) { n = Neg (h) }>""",
    ),
    (
        "Loop",
        "y",
        """n = Constant <value_int = 3> ()
        y, o = Loop (n, , x) <body = b (int64 i, bool k, float s) => (bool l, float r, float t) {
            l = Identity (k) r = Mul (s, w) t = Add (r, x) }>""",
    ),
]


@pytest.mark.parametrize(("left", "output", "nodes"), LEFT)
def test_what_the_table_does_not_cover_is_run_by_the_runtime(tmp_path, left, output, nodes):
    weights = """float[1, 2, 1, 1] w, float[2] two = {1.0, 2.0}, float[2] mean = {0.5, 0.0},
        float[4] half = {1.0, 1.0, 0.5, 0.5}"""
    text = f"g (float[1, 2, 4, 4] x) => (float {output}) <{weights}> {{ {nodes} }}"
    path = written(
        tmp_path, text, header='<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>'
    )
    x = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)}
    program = program_of(path)
    assert left_to_the_runtime(program) == [left]
    agree(values_of(program, x), outputs(path, x))


def test_gradients_stop_at_a_step_of_the_runtime(tmp_path):
    path = written(
        tmp_path, "g (float[1, 2] x) => (float y) { h = Relu (x) l = Hardmax (h) y = Add (l, x) }"
    )
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    run(program_of(path), {"x": x})[0].sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0]]


def test_half_precision_is_computed_as_single(tmp_path):
    text = """g (float16[1, 3, 5, 5] x) => (float16 y, float z) <float16[4, 3, 3, 3] w, float16[4] b, float16[4, 4] m> {
        c = Conv (x, w, b) r = LeakyRelu (c) l = Hardmax <axis = 1> (r) f = Cast <to = 1> (l) h = Cast <to = 10> (f)
        s = Add (r, h) p = GlobalAveragePool (s) q = Flatten (p) y = MatMul (q, m) z = Cast <to = 1> (y) }"""
    path = written(tmp_path, text)
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float16)}
    program = program_of(path)
    assert left_to_the_runtime(program) == ["Hardmax"]
    found = values_of(program, x)
    agree(found, outputs(path, x), rtol=1e-2, atol=1e-2)
    wide = run(program, {"x": torch.from_numpy(x["x"]).float()})
    assert wide[0].dtype == wide[1].dtype == torch.float32
    np.testing.assert_array_equal(wide[0].detach(), found[0])


def test_double_precision_stays(tmp_path):
    path = written(
        tmp_path, "g (double[2, 3] x) => (double y) <double[3, 4] w> { y = MatMul (x, w) }"
    )
    x = {"x": np.random.default_rng(0).standard_normal((2, 3))}
    agree(values_of(program_of(path), x), outputs(path, x), rtol=1e-12, atol=1e-14)


def test_constants_are_computed_once_and_the_unused_is_dropped(tmp_path):
    text = """g (float[2, 3] x) => (float y, float k) <float[4, 3] w, float[3] b> {
        t = Transpose (w) m = MatMul (x, t) unused = Exp (m) s = Add (b, b) e = Unsqueeze <axes = [1]> (s) k = Neg (e)
        u, v = Split <axis = 1, split = [2, 2]> (m)
        r = RandomNormalLike <scale = 1.0e-9> (b) z = ReduceSum (r) y = Add (u, z) }"""
    path = written(tmp_path, text, header='<ir_version: 8, opset_import: ["": 12]>')
    program = program_of(path)
    assert [step.op for step in program.steps] == [
        "MatMul",
        "Split",
        "RandomNormalLike",
        "ReduceSum",
        "Add",
    ]
    assert set(program.constants) == {"t", "k"}  # the runtime has its own b
    x = {"x": np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)}
    agree(values_of(program, x), outputs(path, x))


def test_large_weights_lie_over_the_file(tmp_path):
    path = written(
        tmp_path,
        "g (float[1, 1024] x) => (float y) <float[1024, 512] w> { t = Identity (w) y = MatMul (x, t) }",
    )
    weight = program_of(path).constants["t"]
    with path.open("r+b") as file:  # what lies over the file sees what is written there
        offset = path.read_bytes().index(weight.numpy().tobytes()[:64])
        file.seek(offset)
        file.write(np.float32(123.0).tobytes())
    assert weight[0, 0] == 123.0


def test_functions_sparse_weights_and_weights_that_are_inputs(tmp_path):
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
        g (float[2, 3] x, float[3] d = {1.0, 2.0, 3.0}) => (float y) {
            h = local.twice (x) a = Add (h, s) y = Mul (a, d) }
        <domain: "local", opset_import: ["": 17]> twice (a) => (b) { b = Add (a, a) }"""
    proto = model(text)
    values = helper.make_tensor("s", TensorProto.FLOAT, [2], [1.0, -1.0])
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            values, helper.make_tensor("", TensorProto.INT64, [2], [0, 2]), [3]
        )
    )
    path = written(tmp_path, proto)
    program = program_of(path)
    x = {"x": np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)}
    agree(values_of(program, x), outputs(path, x))
    assert program.inputs == ("x",)
    assert [step.op for step in program.steps] == ["Add", "Add", "Mul"]


def test_types_that_cannot_be_handed_on_are_named(tmp_path):
    text = """<ir_version: 9, opset_import: ["": 19]> g (float[2] x) => (float y)
        { q = Cast <to = 17> (x) y = Cast <to = 1> (q) }"""
    with pytest.raises(NoProgramError, match=r"Cast works on tensor\(float8e4m3fn\)"):
        program_of(written(tmp_path, text))

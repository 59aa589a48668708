"""ONNX models as programs: sites and norms, gradients, constants and element types."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from digits import MODELS, split
from onnx import TensorProto, helper, numpy_helper
from support.onnx.programs import agree, program_of, runtime_operators, values_of
from support.onnx.text import model, outputs, written

from worker.engine.formats import open_model
from worker.engine.program import run

SAMPLES = [
    "plain.onnx",
    "batchnorm.onnx",
    "batchnorm_bn.onnx",
    "residual.onnx",
    "residual_bn.onnx",
]


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
        node.op_type == "BatchNormalization"
        for node in onnx.load(MODELS / file).graph.node
    )
    for norm in norms:
        assert (
            norm.mean.shape
            == norm.variance.shape
            == norm.weight.shape
            == norm.bias.shape
        )


def test_a_site_step_is_its_layer_and_a_norm_step_its_norm():
    opened = open_model("onnx", MODELS / "batchnorm_bn.onnx")
    sites = {site.name: site for site in opened.count(opened.bind(None)).sites}
    steps = opened.program().steps
    site = next(step for step in steps if step.site)
    norm = next(step for step in steps if step.norm)
    layer = opened.layer(sites[site.site])
    x = torch.randn(2, layer.convolution.in_channels, 8, 8)
    weight = torch.from_numpy(layer.weight)
    bias = None if layer.bias is None else torch.from_numpy(layer.bias)
    padding = [before for before, _ in layer.convolution.padding]
    torch.testing.assert_close(
        site.run(x), (torch.conv2d(x, weight, bias, layer.convolution.stride, padding),)
    )
    y = torch.randn(2, len(norm.norm.mean), 4, 4)
    mean = norm.norm.mean.reshape(-1, 1, 1)
    variance = norm.norm.variance.reshape(-1, 1, 1)
    scale = norm.norm.weight.reshape(-1, 1, 1)
    shift = norm.norm.bias.reshape(-1, 1, 1)
    expected = (y - mean) / torch.sqrt(variance + norm.norm.epsilon) * scale + shift
    torch.testing.assert_close(norm.run(y), (expected,))


CONV_NORM_RELU = """g (float[N, 3, 6, 6] x) => (float y) <float[4, 3, 3, 3] w, float[4] b,
    float[4] scale = {1.0, 2.0, 0.5, -1.0}, float[4] mean, float[4] variance = {1.0, 2.0, 0.5, 3.0}>
        {
    c = Conv <pads = [1, 0, 0, 1]> (x, w, b) n = BatchNormalization (c, scale, b, mean, variance)
        y = Relu (n) }"""


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
    c = torch.conv2d(
        torch.nn.functional.pad(other, (0, 1, 1, 0)), stored["w"], stored["b"]
    )
    n = torch.batch_norm(
        c,
        stored["scale"],
        stored["b"],
        stored["mean"],
        stored["variance"],
        False,
        0.1,
        1e-5,
        False,
    )
    torch.relu(n).square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    assert x.grad.abs().max() > 0


def test_any_batch_runs_whatever_the_model_declares(tmp_path):
    path = written(tmp_path, CONV_NORM_RELU.replace("float[N,", "float[1,"))
    assert run(program_of(path), {"x": torch.randn(5, 3, 6, 6)})[0].shape == (
        5,
        4,
        5,
        5,
    )


def test_linear_sites_take_the_data_alone_unless_they_are_scaled(tmp_path):
    text = """g (float[N, 4] x) => (float y) <float[4, 4] w, float[4, 4] v, float[4] b> {
        a = Gemm <transB = 1> (x, w, b) c = Gemm <alpha = 2.0> (a, v, b) d = MatMul (c, w)
            y = MatMul (v, d) }"""
    path = written(tmp_path, text)
    opened = open_model("onnx", path)
    opened.count(opened.bind({"x": (4, 4)}))
    nodes = {"plain": ("a",), "scaled": ("c",), "product": ("d",), "turned": ("y",)}
    opened._counted = replace(opened._counted, site_nodes=nodes)
    program = opened.program()
    x = {"x": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)}
    agree(values_of(program, x), outputs(path, x))
    assert [(step.site, len(step.takes)) for step in program.steps] == [
        ("plain", 1),
        (None, 3),
        ("product", 1),
        (None, 2),
    ]


def test_half_precision_is_computed_as_single(tmp_path):
    text = """g (float16[1, 3, 5, 5] x) => (float16 y, float z) <float16[4, 3, 3, 3] w,
        float16[4] b, float16[4, 4] m> {
        c = Conv (x, w, b) r = LeakyRelu (c) l = Hardmax <axis = 1> (r) f = Cast <to = 1> (l)
            h = Cast <to = 10> (f)
        s = Add (r, h) p = GlobalAveragePool (s) q = Flatten (p) y = MatMul (q, m) z = Cast <to = 1>
            (y) }"""
    path = written(tmp_path, text)
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float16)}
    program = program_of(path)
    assert runtime_operators(program) == ["Hardmax"]
    actual = values_of(program, x)
    agree(actual, outputs(path, x), rtol=1e-2, atol=1e-2)
    wide = run(program, {"x": torch.from_numpy(x["x"]).float()})
    assert wide[0].dtype == wide[1].dtype == torch.float32
    np.testing.assert_array_equal(wide[0].detach(), actual[0])


def test_double_precision_stays(tmp_path):
    path = written(
        tmp_path,
        "g (double[2, 3] x) => (double y) <double[3, 4] w> { y = MatMul (x, w) }",
    )
    x = {"x": np.random.default_rng(0).standard_normal((2, 3))}
    agree(values_of(program_of(path), x), outputs(path, x), rtol=1e-12, atol=1e-14)


def test_constants_are_computed_once_and_the_unused_is_dropped(tmp_path):
    text = """g (float[2, 3] x) => (float y, float k) <float[4, 3] w, float[3] b> {
        t = Transpose (w) m = MatMul (x, t) unused = Exp (m) s = Add (b, b)
            e = Unsqueeze <axes = [1]> (s) k = Neg (e)
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
        "g (float[1, 1024] x) => (float y) <float[1024, 512] w> { t = Identity (w) y = MatMul (x, "
        "t) }",
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

"""Whatever the geometry, a convolution replaced by what equals it leaves the model's outputs as they were."""

from dataclasses import replace
from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_text import distance, model, outputs, written

from worker.engine.convolution import Convolution, Layer
from worker.engine.formats import open_model

TOLERANCE = 1e-5


def split_exactly(layer: Layer) -> list[Layer]:
    """Depthwise at full rank, then pointwise: the first layer copies each kernel offset, the second is the weight."""
    convolution = layer.convolution
    channels, k2, axes = convolution.in_channels, convolution.k2, len(convolution.kernel)
    picks = np.tile(np.eye(k2, dtype=layer.weight.dtype), (channels, 1)).reshape(channels * k2, 1, *convolution.kernel)
    ones, zeros = (1,) * axes, ((0, 0),) * axes
    mixing = layer.weight.reshape(convolution.out_channels, -1, *ones)
    return [
        Layer(replace(convolution, weight_shape=picks.shape, groups=channels), picks, None),
        Layer(Convolution(mixing.shape, ones, zeros, ones, convolution.groups), mixing, layer.bias),
    ]


@st.composite
def convolutions(draw):
    """A Conv node with its shapes: one to three axes, grouped, strided, dilated, padded in every way ONNX has."""
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel, strides, dilations = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2)
    groups, inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = [draw(st.integers(1, 9)) for _ in range(axes)]
    rule = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", None]))
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        dilations = [1] * axes  # ONNX Runtime takes no others with these
    attributes = {"strides": strides, "dilations": dilations, "group": groups}
    pads = per_axis(0, 2) + per_axis(0, 2)
    if rule is None:
        attributes["pads"] = pads
    else:
        attributes["auto_pad"] = rule
    padded = [s + (pads[a] + pads[a + axes] if rule is None else 0) for a, s in enumerate(size)]
    if rule in (None, "NOTSET", "VALID"):
        assume(all(p >= d * (k - 1) + 1 for p, d, k in zip(padded, dilations, kernel, strict=True)))
    if draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    weight = (groups * outer, inner, *kernel)
    shape = (draw(st.integers(1, 2)), groups * inner, *size)
    return attributes, weight, shape, draw(st.booleans())


def single(attributes, weight_shape, shape, has_bias, constant_nodes=False):
    """A model of one Conv whose weights are initializers or Constant nodes."""
    generator = np.random.default_rng(prod(weight_shape))
    weights = {"w": generator.standard_normal(weight_shape).astype(np.float32)}
    if has_bias:
        weights["b"] = generator.standard_normal(weight_shape[0]).astype(np.float32)
    proto = model("g (float[1] x) => (float[1] y) { }")
    for value, shown in ((proto.graph.input[0], shape), (proto.graph.output[0], (None,) * len(shape))):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shown))
    for name, array in weights.items():
        tensor = numpy_helper.from_array(array, name)
        if constant_nodes:
            proto.graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            proto.graph.initializer.append(tensor)
    proto.graph.node.append(helper.make_node("Conv", ["x", *weights], ["y"], **attributes))
    return proto


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("surgery")


@pytest.mark.parametrize("make", [lambda layer: [layer], split_exactly], ids=["itself", "split"])
@given(case=convolutions(), constant_nodes=st.booleans())
@settings(max_examples=60)
def test_what_equals_a_convolution_gives_its_outputs(folder, make, case, constant_nodes):
    _, weight_shape, shape, _ = case
    path = written(folder, single(*case, constant_nodes))
    opened = open_model("onnx", path)
    (site,) = opened.count(opened.bind(None)).sites
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = outputs(path, {"x": x})

    assert site.reason is None
    assert site.macs == expected.size * prod(weight_shape[1:])  # what the runtime gives is the oracle
    assert site.macs == site.macs_of([site.convolution])
    layer = opened.layer(site)
    opened.replace(site, make(layer))
    opened.save(folder / "after.onnx")

    onnx.checker.check_model(str(folder / "after.onnx"), full_check=True)
    (found,) = outputs(folder / "after.onnx", {"x": x})
    assert found.shape == expected.shape
    assert distance(found, expected) <= TOLERANCE
    after = open_model("onnx", folder / "after.onnx")
    chain = [made.convolution for made in make(layer)]
    assert after.count(after.bind(None)).macs == site.macs_of(chain)


def replaced(tmp_path, proto, inputs, make=split_exactly):
    """Replace every site that can be, and return the models before and after, checked for equal outputs."""
    before = written(tmp_path, proto)
    opened = open_model("onnx", before)
    for site in opened.count(opened.bind(None)).sites:
        if site.reason is None:
            opened.replace(site, make(opened.layer(site)))
    after = tmp_path / "after.onnx"
    opened.save(after)
    onnx.checker.check_model(str(before), full_check=True)
    onnx.checker.check_model(str(after), full_check=True)
    for found, expected in zip(outputs(after, inputs), outputs(before, inputs), strict=True):
        assert distance(found, expected) <= TOLERANCE
    return onnx.load(before), onnx.load(after)


X = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}


def names(values):
    return [value.name for value in values]


def test_what_a_model_carries_besides_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 4, 4] y, float[1, 4, 6, 6] t) <float[4, 3, 3, 3] w> {
        [first] t = Conv(x, w)  u = Relu(t)  y = MaxPool <kernel_shape = [3, 3]> (u) }""")
    proto.doc_string, proto.producer_name, proto.model_version, proto.domain = "about", "someone", 7, "acme"
    proto.graph.doc_string, proto.graph.node[0].doc_string = "graph", "node"
    helper.set_model_props(proto, {"key": "value"})
    proto.opset_import.add(domain="ai.onnx.ml", version=2)
    before, after = replaced(tmp_path, proto, X)
    kept = onnx.ModelProto()
    kept.CopyFrom(after)
    kept.graph.ClearField("node")
    kept.graph.ClearField("initializer")
    before.graph.ClearField("initializer")
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv", "Relu", "MaxPool"]
    assert after.graph.node[1].name == "first"
    assert after.graph.node[1].doc_string == "node"
    before.graph.ClearField("node")
    assert kept == before


def test_new_values_take_no_name_that_is_in_use(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w, float[1] w_factor1> {
        t = Conv(x, w)  t_factor1 = Relu(t)  t_factor1_2 = Neg(t_factor1)  y = Mul(t_factor1_2, w_factor1) }""")
    _, after = replaced(tmp_path, proto, X)
    taken = [*names(after.graph.initializer), *(name for node in after.graph.node for name in node.output)]
    assert len(taken) == len(set(taken))


def test_a_weight_shared_by_equal_convolutions_is_one_site_with_shared_factors(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) <float[3, 3, 3, 3] w, float[3] b> {
        s = Conv(x, w, b)  r = Relu(s)  y = Conv(r, w, b) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    assert [call.input_size for call in site.calls] == [(8, 8), (6, 6)]
    assert site.macs == 81 * (36 + 16)
    _, after = replaced(tmp_path, proto, X)
    assert len(after.graph.initializer) == 3
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv", "Relu", "Conv", "Conv"]


def test_a_weight_shared_under_other_biases_is_a_site_each(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) <float[3, 3, 3, 3] w, float[3] b, float[3] c> {
        s = Conv(x, w, b)  y = Conv(s, w, c) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    assert len(opened.count(opened.bind(None)).sites) == 2
    replaced(tmp_path, proto, X)


def test_a_weight_that_others_use_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> {
        t = Conv(x, w)  m = ReduceMean <keepdims = 0> (w)  y = Mul(t, m) }""")
    _, after = replaced(tmp_path, proto, X)
    assert "w" in names(after.graph.initializer)


def test_a_weight_that_a_branch_uses_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x, bool c) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> {
        t = Conv(x, w)
        m = If (c) < then_branch = yes () => (float a) { a = ReduceMean <keepdims = 0> (w) },
                     else_branch = no () => (float b) { b = ReduceMax <keepdims = 0> (w) } >
        y = Mul(t, m) }""")
    _, after = replaced(tmp_path, proto, {**X, "c": np.array(True)})
    assert "w" in names(after.graph.initializer)


def test_one_weight_under_two_geometries_is_two_sites(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 3, 3] y, float[1, 4, 6, 6] z) <float[4, 3, 3, 3] w> {
        y = Conv <strides = [2, 2]> (x, w)  z = Conv(x, w) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    first, second = opened.count(opened.bind(None)).sites
    assert (first.name, second.name) == ("w", "w_2")
    opened.replace(first, [opened.layer(first)])
    opened.replace(second, [opened.layer(second)])
    _, after = replaced(tmp_path, proto, X)
    assert "w" not in names(after.graph.initializer)


def test_constants_behind_identities_are_replaced_and_leave_nothing(tmp_path):
    proto = single({}, (4, 3, 3, 3), (1, 3, 8, 8), True, constant_nodes=True)
    for name in "wb":
        proto.graph.node.insert(2, helper.make_node("Identity", [name], [name * 2]))
    proto.graph.node[-1].input[1:] = ["ww", "bb"]
    _, after = replaced(tmp_path, proto, X)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Conv"]


def test_weights_that_are_listed_as_inputs_are_no_inputs_and_go_with_their_initializers(tmp_path):
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w, float[4] b> { y = Conv(x, w, b) }"
    )
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    proto.opset_import[0].version = 8
    opened = open_model("onnx", written(tmp_path, proto))
    assert [spec.name for spec in opened.inputs] == ["x"]
    assert opened.bind(None) == {"x": (1, 3, 8, 8)}
    _, after = replaced(tmp_path, proto, X)
    assert sorted(names(after.graph.input)) == sorted(["x", *names(after.graph.initializer)])
    assert not {"w", "b"} & set(names(after.graph.input))


@pytest.mark.parametrize(
    ("dtype", "given_as"), [("float16", "float32"), ("double", "float64"), ("bfloat16", "float32")]
)
def test_weights_are_stored_in_the_sites_own_type(tmp_path, dtype, given_as):
    proto = model(f"g ({dtype}[1, 3, 8, 8] x) => ({dtype}[1, 4, 6, 6] y) <{dtype}[4, 3, 3, 3] w> {{ y = Conv(x, w) }}")
    proto.opset_import[0].version = 22  # the first whose Conv takes bfloat16; the runtime takes neither it nor double
    proto.ir_version = 10
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    layer = opened.layer(site)
    assert layer.weight.dtype == given_as
    opened.replace(site, [layer])
    opened.save(tmp_path / "after.onnx")
    onnx.checker.check_model(str(tmp_path / "after.onnx"), full_check=True)
    (stored,) = onnx.load(tmp_path / "after.onnx").graph.initializer
    assert stored.raw_data == proto.graph.initializer[0].raw_data
    assert stored.data_type == proto.graph.initializer[0].data_type


def test_a_replaced_model_counts_its_new_sites(tmp_path):
    proto = model("g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> { y = Conv(x, w) }")
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    opened.replace(site, split_exactly(opened.layer(site)))
    depthwise, pointwise = opened.count(opened.bind(None)).sites
    assert (depthwise.weight_shape, pointwise.weight_shape) == ((27, 1, 3, 3), (4, 27, 1, 1))
    assert opened.parameters == 27 * 9 + 4 * 27
    opened.replace(pointwise, [opened.layer(pointwise)])  # what was put in can be taken out again
    opened.save(tmp_path / "after.onnx")
    assert distance(outputs(tmp_path / "after.onnx", X)[0], outputs(tmp_path / "model.onnx", X)[0]) <= TOLERANCE

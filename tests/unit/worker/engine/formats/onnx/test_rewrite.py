"""Whatever the geometry, a convolution replaced by what equals it leaves the model's outputs as they were."""

from collections import Counter
from functools import partial
from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.chains import in_form, split_exactly, with_bias
from support.onnx_text import distance, model, outputs, written

from worker.engine.decompose import FORMS
from worker.engine.formats import open_model
from worker.engine.formats.onnx import rewrite

TOLERANCE = 1e-5


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


@st.composite
def transposed_convolutions(draw):
    """A ConvTranspose node with its shapes."""
    axes = draw(st.integers(1, 3))

    def per_axis(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    kernel, strides, dilations = per_axis(1, 3), per_axis(1, 3), per_axis(1, 2)
    more = [draw(st.integers(0, stride - 1)) for stride in strides]
    pads = [
        draw(st.integers(0, dilations[axis % axes] * (kernel[axis % axes] - 1)))
        for axis in range(2 * axes)
    ]
    groups, inner, outer = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = [draw(st.integers(3, 6)) for _ in range(axes)]
    attributes = {
        "strides": strides,
        "dilations": dilations,
        "group": groups,
        "pads": pads,
        "output_padding": more,
    }
    given = zip(size, strides, dilations, kernel, pads, pads[axes:], more, strict=False)
    assume(
        all(
            (n - 1) * s + d * (k - 1) + 1 - before - behind + o > 0
            for n, s, d, k, before, behind, o in given
        )
    )
    return (
        attributes,
        (groups * inner, outer, *kernel),
        (draw(st.integers(1, 2)), groups * inner, *size),
        draw(st.booleans()),
    )


def single(attributes, weight_shape, shape, has_bias, constant_nodes=False, op="Conv"):
    """A model of one Conv or ConvTranspose whose weights are initializers or Constant nodes."""
    generator = np.random.default_rng(prod(weight_shape))
    weights = {"w": generator.standard_normal(weight_shape).astype(np.float32)}
    if has_bias:
        outputs = weight_shape[0] if op == "Conv" else weight_shape[1] * attributes.get("group", 1)
        weights["b"] = generator.standard_normal(outputs).astype(np.float32)
    proto = model("g (float[1] x) => (float[1] y) { }")
    for value, shown in (
        (proto.graph.input[0], shape),
        (proto.graph.output[0], (None,) * len(shape)),
    ):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shown))
    for name, array in weights.items():
        tensor = numpy_helper.from_array(array, name)
        if constant_nodes:
            proto.graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            proto.graph.initializer.append(tensor)
    proto.graph.node.append(helper.make_node(op, ["x", *weights], ["y"], **attributes))
    return proto


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("surgery")


@pytest.mark.parametrize(
    "make",
    [lambda layer: [layer], split_exactly, *(partial(in_form, form) for form in FORMS)],
    ids=["itself", "split", *FORMS],
)
@given(case=convolutions(), constant_nodes=st.booleans())
@settings(max_examples=30, deadline=None)
def test_what_equals_a_convolution_gives_its_outputs(folder, make, case, constant_nodes):
    _, weight_shape, shape, _ = case
    path = written(folder, single(*case, constant_nodes))
    opened = open_model("onnx", path)
    (site,) = opened.count(opened.bind(None)).sites
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = outputs(path, {"x": x})

    assert site.reason is None
    assert site.macs == expected.size * prod(
        weight_shape[1:]
    )  # what the runtime gives is the oracle
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


@given(case=transposed_convolutions())
@settings(max_examples=60, deadline=None)
def test_what_equals_a_transposed_convolution_gives_its_outputs(folder, case):
    _, weight_shape, shape, _ = case
    path = written(folder, single(*case, op="ConvTranspose"))
    opened = open_model("onnx", path)
    (site,) = opened.count(opened.bind(None)).sites
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = outputs(path, {"x": x})

    assert site.reason is None
    assert site.macs == x.size // shape[1] * prod(weight_shape) == site.macs_of([site.convolution])
    assert site.convolution.output_size(shape[2:]) == expected.shape[2:]
    opened.replace(site, with_bias(opened.layer(site), 0.5))
    opened.save(folder / "after.onnx")

    onnx.checker.check_model(str(folder / "after.onnx"), full_check=True)
    (found,) = outputs(folder / "after.onnx", {"x": x})
    assert distance(found, expected + 0.5) <= TOLERANCE


GEMM = """<ir_version: 4, opset_import: ["": {opset}]>
    g (float[{rows}] x) => (float[2, 5] y) <float[{matrix}] w, float[{bias}] b> {{
        [fc] y = Gemm <transA = {a}, transB = {b}, alpha = {alpha}, beta = {beta}> (x, w{used}) }}"""


@pytest.mark.parametrize(
    ("opset", "shape"),
    [(7, "5"), (7, "1, 5"), (9, "1"), (11, "5"), (11, None), (13, "1, 1"), (21, "5"), (21, None)],
)
@given(
    transposed=st.tuples(st.booleans(), st.booleans()),
    scales=st.tuples(st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 2.0])),
)
@settings(max_examples=5, deadline=None)
def test_a_gemm_becomes_gemms(folder, opset, shape, transposed, scales):
    text = GEMM.format(
        opset=opset, rows="3, 2" if transposed[0] else "2, 3", matrix="5, 3" if transposed[1] else "3, 5",
        bias=shape or "5", used="" if shape is None else ", b", a=int(transposed[0]), b=int(transposed[1]),
        alpha=scales[0], beta=scales[1],
    )  # fmt: skip
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
    _, after = replaced(tmp_path, proto, x, lambda layer: with_bias(layer, 0.5), plus=0.5)
    assert [node.op_type for node in after.graph.node] == ["MatMul", "MatMul", "Add"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Gemm(x, w, c)", "its bias is computed at run time"),
        ("y = Gemm(x, w, r)", "its bias is not the same for every row"),
        ("y = Gemm(x, w, s)", "its bias is not the same for every row"),
        ("y = MatMul(v, x)", "its weight is the left factor of the product"),
        ("y = MatMul(x, u)", "its weight is no matrix"),
        (
            "i = Cast <to = 6> (x)  j = MatMul(i, k)  y = Cast <to = 1> (j)",
            "its weight is of type int32",
        ),
    ],
)
def test_products_that_are_no_linear_layers_are_left_with_the_reason(tmp_path, body, reason):
    proto = model(f"""g (float[2, 3] x, float[5] c) => (float y)
        <float[3, 5] w, float[2, 5] r, float[2, 1] s, float[4, 2] v, float[6, 3, 5] u, int32[3, 5] k> {{ {body} }}""")
    opened = open_model("onnx", written(tmp_path, proto))
    assert [site.reason for site in opened.count(opened.bind(None)).sites] == [reason]


def test_a_matrix_that_is_used_as_it_is_and_transposed_is_left(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) <float[3, 3] w> {
        y = Gemm(x, w)  z = Gemm <transB = 1> (y, w) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    sites = opened.count(opened.bind(None)).sites
    assert [site.macs for site in sites] == [18, 18]
    assert {site.reason for site in sites} == {
        "its weight is shared with nodes that use it in another way"
    }


def replaced(tmp_path, proto, inputs, make=split_exactly, plus=0):
    """Replace every site that can be, and return the models before and after, checked for outputs that differ so."""
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
        assert distance(found, expected + plus) <= TOLERANCE
    return onnx.load(before), onnx.load(after)


X = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}


def names(values):
    return [value.name for value in values]


def test_what_a_model_carries_besides_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 4, 4] y, float[1, 4, 6, 6] t) <float[4, 3, 3, 3] w> {
        [first] t = Conv(x, w)  u = Relu(t)  y = MaxPool <kernel_shape = [3, 3]> (u) }""")
    proto.doc_string, proto.producer_name, proto.model_version, proto.domain = (
        "about",
        "someone",
        7,
        "acme",
    )
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
    taken = [
        *names(after.graph.initializer),
        *(name for node in after.graph.node for name in node.output),
    ]
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


@pytest.mark.parametrize(
    "body",
    [
        "s = Conv <pads = [1, 1, 1, 1]> (x, w, b)  y = Conv <pads = [1, 1, 1, 1]> (s, w, c)",
        "s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (s, w)",
        "s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = ConvTranspose <pads = [1, 1, 1, 1]> (s, w)",
        """s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = If (q) <
            then_branch = yes () => (float t) { t = Conv <pads = [1, 1, 1, 1]> (s, w, b) },
            else_branch = no () => (float e) { e = Neg(s) }>""",
    ],
    ids=["biases", "geometries", "operators", "a branch"],
)
def test_a_weight_that_is_shared_but_not_used_alike_is_left(tmp_path, body):
    proto = model(f"""g (float[1, 3, 8, 8] x, bool q) => (float[1, 3, 8, 8] y) <float[3, 3, 3, 3] w, float[3] b,
        float[3] c> {{ {body} }}""")
    opened = open_model("onnx", written(tmp_path, proto))
    sites = opened.count(opened.bind(None)).sites
    assert [site.macs for site in sites] == [64 * 81] * 2
    assert sites[0].reason == "its weight is shared with nodes that use it in another way"
    assert sites[1].reason is not None


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


BEHIND = {
    "Cast": ("c = Cast <to = 1> (h)", "y = Conv(x, c)", "h"),
    "Transpose": ("c = Transpose <perm = [3, 2, 0, 1]> (t)", "y = Conv(x, c)", "t"),
    "Reshape": ("n = Constant <value = int64[4] {4, 3, 3, -1}> () c = Reshape(m, n)", "y = Conv(x, c)", "m"),
    "several": ("a = Identity(h) b = Cast <to = 1> (a) c = Identity(b)", "y = Conv(x, c)", "h"),
    "Unsqueeze": ("a = Constant <value = int64[1] {0}> () c = Unsqueeze(l, a)", "z = Conv(x, c) y = Expand(z, o)", "l"),
    "a shape": ("s = Constant <value = int64[4] {4, 3, 3, 3}> () c = ConstantOfShape <value = float[1] {0.5}> (s)",
                "y = Conv(x, c)", "s"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEHIND)
def test_weights_behind_operators_that_can_be_computed_before_are_replaced_and_leave_nothing(
    tmp_path, kind
):
    made, used, source = BEHIND[kind]
    proto = model(f"""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y)
        <float16[4, 3, 3, 3] h, float[3, 3, 3, 4] t, float[4, 27] m, float[3, 3, 3] l, int64[4] o> {{
            {made} {used} }}""")
    for tensor in proto.graph.initializer:
        if tensor.name == "o":
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, 4, 6, 6]), "o"))
    _, after = replaced(tmp_path, proto, X)
    assert [node.op_type for node in after.graph.node if node.op_type != "Expand"] == [
        "Conv",
        "Conv",
    ]
    assert source not in names(after.graph.initializer)
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in after.graph.initializer if tensor.name != "o"
               and "factor" in tensor.name)  # fmt: skip


def test_a_matrix_behind_a_transposition_is_shared_with_itself_as_it_is(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) <float[3, 3] w> {
        t = Transpose(w)  y = MatMul(x, w)  z = MatMul(y, t) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    reasons = {site.reason for site in opened.count(opened.bind(None)).sites}
    assert reasons == {"its weight is shared with nodes that use it in another way"}


def test_equal_transpositions_of_one_matrix_are_one_site(tmp_path):
    proto = model("""g (float[2, 3] x) => (float[2, 3] z) <float[3, 3] w> {
        t = Transpose(w)  u = Transpose(w)  y = MatMul(x, t)  z = MatMul(y, u) }""")
    _, after = replaced(tmp_path, proto, {"x": np.ones((2, 3), np.float32)})
    assert [node.op_type for node in after.graph.node] == ["MatMul"] * 4
    assert len(after.graph.initializer) == 2


def test_quantised_weights_are_left_with_the_reason(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <int8[4, 3, 3, 3] w, float s, int8 z> {
        d = DequantizeLinear(w, s, z)  y = Conv(x, d) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    assert (site.macs, site.reason) == (36 * 108, "its weight is quantised")


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
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
        proto.graph.value_info.append(proto.graph.input[-1])
    proto.opset_import[0].version = 8
    opened = open_model("onnx", written(tmp_path, proto))
    assert [spec.name for spec in opened.inputs] == ["x"]
    assert opened.bind(None) == {"x": (1, 3, 8, 8)}
    _, after = replaced(tmp_path, proto, X)
    assert sorted(names(after.graph.input)) == sorted(["x", *names(after.graph.initializer)])
    assert not {"w", "b"} & {*names(after.graph.input), *names(after.graph.value_info)}


@pytest.mark.parametrize(
    ("dtype", "given_as"), [("float16", "float32"), ("double", "float64"), ("bfloat16", "float32")]
)
def test_weights_are_stored_in_the_sites_own_type(tmp_path, dtype, given_as):
    proto = model(
        f"g ({dtype}[1, 3, 8, 8] x) => ({dtype}[1, 4, 6, 6] y) <{dtype}[4, 3, 3, 3] w> {{ y = Conv(x, w) }}"
    )
    proto.opset_import[
        0
    ].version = 22  # the first whose Conv takes bfloat16; the runtime takes neither it nor double
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
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> { y = Conv(x, w) }"
    )
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    opened.replace(site, split_exactly(opened.layer(site)))
    depthwise, pointwise = opened.count(opened.bind(None)).sites
    assert (depthwise.weight_shape, pointwise.weight_shape) == ((27, 1, 3, 3), (4, 27, 1, 1))
    assert opened.parameters == 27 * 9 + 4 * 27
    opened.replace(pointwise, [opened.layer(pointwise)])  # what was put in can be taken out again
    opened.save(tmp_path / "after.onnx")
    assert (
        distance(outputs(tmp_path / "after.onnx", X)[0], outputs(tmp_path / "model.onnx", X)[0])
        <= TOLERANCE
    )


def test_what_is_looked_up_in_the_whole_model_is_looked_up_once_however_many_sites_are_replaced(
    tmp_path, monkeypatch
):
    """Else work would grow with the square of the number of layers."""
    steps = " ".join(f"v{at + 1} = Conv <pads = [1, 1, 1, 1]> (v{at}, w{at})" for at in range(9))
    weights = ", ".join(f"float[3, 3, 3, 3] w{at}" for at in range(9))
    opened = open_model(
        "onnx",
        written(
            tmp_path,
            model(f"g (float[1, 3, 8, 8] v0) => (float[1, 3, 8, 8] v9) <{weights}> {{ {steps} }}"),
        ),
    )
    sites = opened.count(opened.bind(None)).sites
    looked = Counter()
    for name in ("constants", "all_graphs", "names", "uses"):
        found = getattr(rewrite, name)
        monkeypatch.setattr(
            rewrite,
            name,
            lambda graph, name=name, found=found: (looked.update([name]), found(graph))[1],
        )
    for site in sites:
        opened.replace(site, split_exactly(opened.layer(site)))
    opened.save(tmp_path / "after.onnx")
    assert looked == {"constants": 1, "all_graphs": 2, "names": 1, "uses": 1}
    assert len(onnx.load(tmp_path / "after.onnx").graph.initializer) == 18

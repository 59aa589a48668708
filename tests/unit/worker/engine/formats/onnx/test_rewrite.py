"""Replaced nodes: what is shared or used by others stays, names are new, types are kept."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper
from support.engine.chains import split_exactly
from support.onnx.replacing import TOLERANCE, X, names, replaced
from support.onnx.text import distance, model, outputs, written

from worker.engine.formats import open_model
from worker.engine.formats.onnx import rewrite


def test_what_a_model_carries_besides_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 4, 4] y, float[1, 4, 6, 6] t)
        <float[4, 3, 3, 3] w> {
        [first] t = Conv(x, w)  u = Relu(t)  y = MaxPool <kernel_shape = [3, 3]> (u) }""")
    proto.doc_string = "about"
    proto.producer_name = "someone"
    proto.model_version = 7
    proto.domain = "acme"
    proto.graph.doc_string = "graph"
    proto.graph.node[0].doc_string = "node"
    helper.set_model_props(proto, {"key": "value"})
    proto.opset_import.add(domain="ai.onnx.ml", version=2)
    before, after = replaced(tmp_path, proto, X)
    kept = onnx.ModelProto()
    kept.CopyFrom(after)
    kept.graph.ClearField("node")
    kept.graph.ClearField("initializer")
    before.graph.ClearField("initializer")
    assert [node.op_type for node in after.graph.node] == [
        "Conv",
        "Conv",
        "Relu",
        "MaxPool",
    ]
    assert after.graph.node[1].name == "first"
    assert after.graph.node[1].doc_string == "node"
    before.graph.ClearField("node")
    assert kept == before


def test_new_values_take_no_name_that_is_in_use(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w,
        float[1] w_factor1> {
        t = Conv(x, w)  t_factor1 = Relu(t)  t_factor1_2 = Neg(t_factor1)
        y = Mul(t_factor1_2, w_factor1) }""")
    _, after = replaced(tmp_path, proto, X)
    used_names = [
        *names(after.graph.initializer),
        *(name for node in after.graph.node for name in node.output),
    ]
    assert len(used_names) == len(set(used_names))


def test_a_weight_shared_by_equal_convolutions_is_one_site_with_shared_factors(
    tmp_path,
):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) <float[3, 3, 3, 3] w,
        float[3] b> {
        s = Conv(x, w, b)  r = Relu(s)  y = Conv(r, w, b) }""")
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    assert [call.input_size for call in site.calls] == [(8, 8), (6, 6)]
    assert site.macs == 81 * (36 + 16)
    _, after = replaced(tmp_path, proto, X)
    assert len(after.graph.initializer) == 3
    assert [node.op_type for node in after.graph.node] == [
        "Conv",
        "Conv",
        "Relu",
        "Conv",
        "Conv",
    ]


@pytest.mark.parametrize(
    "body",
    [
        "s = Conv <pads = [1, 1, 1, 1]> (x, w, b)  y = Conv <pads = [1, 1, 1, 1]> (s, w, c)",
        "s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Conv <pads = [2, 2, 2, 2], dilations = [2, "
        "2]> (s, w)",
        "s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = ConvTranspose <pads = [1, 1, 1, 1]> (s, w)",
        """s = Conv <pads = [1, 1, 1, 1]> (x, w)  y = If (q) <
            then_branch = yes () => (float t) { t = Conv <pads = [1, 1, 1, 1]> (s, w, b) },
            else_branch = no () => (float e) { e = Neg(s) }>""",
    ],
    ids=["biases", "geometries", "operators", "a branch"],
)
def test_a_weight_that_is_shared_but_not_used_alike_is_left(tmp_path, body):
    proto = model(f"""g (float[1, 3, 8, 8] x, bool q) => (float[1, 3, 8, 8] y)
        <float[3, 3, 3, 3] w, float[3] b,
        float[3] c> {{ {body} }}""")
    opened = open_model("onnx", written(tmp_path, proto))
    sites = opened.count(opened.bind(None)).sites
    assert [site.macs for site in sites] == [64 * 81] * 2
    assert sites[0].reason == "its weight is shared with nodes that use it differently"
    assert sites[1].reason is not None


def test_a_weight_that_others_use_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> {
        t = Conv(x, w)  m = ReduceMean <keepdims = 0> (w)  y = Mul(t, m) }""")
    _, after = replaced(tmp_path, proto, X)
    assert "w" in names(after.graph.initializer)


def test_a_weight_that_a_branch_uses_stays(tmp_path):
    proto = model("""g (float[1, 3, 8, 8] x, bool c) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w>
        {
        t = Conv(x, w)
        m = If (c) < then_branch = yes () => (float a) { a = ReduceMean <keepdims = 0> (w) },
                     else_branch = no () => (float b) { b = ReduceMax <keepdims = 0> (w) } >
        y = Mul(t, m) }""")
    _, after = replaced(tmp_path, proto, {**X, "c": np.array(True)})
    assert "w" in names(after.graph.initializer)


def test_weights_that_are_listed_as_inputs_are_no_inputs_and_go_with_their_initializers(
    tmp_path,
):
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w, float[4] b> { y = "
        "Conv(x, w, b) }"
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
    assert sorted(names(after.graph.input)) == sorted(
        ["x", *names(after.graph.initializer)]
    )
    assert not {"w", "b"} & {*names(after.graph.input), *names(after.graph.value_info)}


@pytest.mark.parametrize(
    ("dtype", "given_as"),
    [("float16", "float32"), ("double", "float64"), ("bfloat16", "float32")],
)
def test_weights_are_stored_in_the_sites_own_type(tmp_path, dtype, given_as):
    proto = model(
        f"g ({dtype}[1, 3, 8, 8] x) => ({dtype}[1, 4, 6, 6] y) <{dtype}[4, 3, 3, 3] w> {{ y = "
        f"Conv(x, w) }}"
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


def test_a_model_of_half_and_single_precision_keeps_both(tmp_path):
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 5, 6, 6] y) "
        "<float16[4, 3, 3, 3] w, float[5, 4, 1, 1] v> "
        "{ h = Cast <to = 10> (x) c = Conv(h, w) r = Relu(c) f = Cast <to = 1> (r) y = Conv(f, v) }"
    )
    opened = open_model("onnx", written(tmp_path, proto))
    for site in opened.count(opened.bind(None)).sites:
        opened.replace(site, split_exactly(opened.layer(site)))
    opened.save(tmp_path / "after.onnx")
    stored = onnx.load(tmp_path / "after.onnx").graph.initializer
    types = {tensor.name.split("_")[0]: tensor.data_type for tensor in stored}
    assert types == {"w": onnx.TensorProto.FLOAT16, "v": onnx.TensorProto.FLOAT}
    (before,) = outputs(tmp_path / "model.onnx", X)
    (after,) = outputs(tmp_path / "after.onnx", X)
    assert distance(after, before) <= 5e-3


def test_a_replaced_model_counts_its_new_sites(tmp_path):
    proto = model(
        "g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> { y = Conv(x, w) }"
    )
    opened = open_model("onnx", written(tmp_path, proto))
    (site,) = opened.count(opened.bind(None)).sites
    opened.replace(site, split_exactly(opened.layer(site)))
    depthwise, pointwise = opened.count(opened.bind(None)).sites
    assert depthwise.weight_shape == (27, 1, 3, 3)
    assert pointwise.weight_shape == (4, 27, 1, 1)
    assert opened.parameters == 27 * 9 + 4 * 27
    opened.replace(
        pointwise, [opened.layer(pointwise)]
    )  # what was put in can be taken out again
    opened.save(tmp_path / "after.onnx")
    assert (
        distance(
            outputs(tmp_path / "after.onnx", X)[0],
            outputs(tmp_path / "model.onnx", X)[0],
        )
        <= TOLERANCE
    )


def test_what_is_looked_up_in_the_whole_model_is_looked_up_once_however_many_sites_are_replaced(
    tmp_path, monkeypatch
):
    """Else work would grow with the square of the number of layers."""
    steps = " ".join(
        f"v{at + 1} = Conv <pads = [1, 1, 1, 1]> (v{at}, w{at})" for at in range(9)
    )
    weights = ", ".join(f"float[3, 3, 3, 3] w{at}" for at in range(9))
    opened = open_model(
        "onnx",
        written(
            tmp_path,
            model(
                f"g (float[1, 3, 8, 8] v0) => (float[1, 3, 8, 8] v9) <{weights}> {{ {steps} }}"
            ),
        ),
    )
    sites = opened.count(opened.bind(None)).sites
    looked = Counter()
    for name in ("constants", "all_graphs", "names", "uses"):
        original = getattr(rewrite, name)
        monkeypatch.setattr(
            rewrite,
            name,
            lambda graph, name=name, original=original: (
                looked.update([name]),
                original(graph),
            )[1],
        )
    for site in sites:
        opened.replace(site, split_exactly(opened.layer(site)))
    opened.save(tmp_path / "after.onnx")
    assert looked == {"constants": 1, "all_graphs": 2, "names": 1, "uses": 1}
    assert len(onnx.load(tmp_path / "after.onnx").graph.initializer) == 18

"""A model made ready for the quantiser."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx.text import model, outputs, written

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.int8 import prepare as module
from worker.engine.formats.onnx.int8.layers import QuantisableLayer
from worker.engine.formats.onnx.int8.prepare import prepare

NET = """g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y)
<float[8, 4, 1, 1] w, float[8] s, float[8] b, float[8] m, float[8] v> {
    a = Conv(x, w)
    c = BatchNormalization(a, s, b, m, v)
    y = Relu(c) }"""
X = {"x": np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)}


def net(opset=17):
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    proto = model(NET, header=header)
    for tensor in proto.graph.initializer:
        if tensor.name == "v":
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, 2, np.float32), "v"))
    return proto


@pytest.mark.parametrize("opset", [11, 17])
def test_normalisation_is_folded_and_nodes_have_names(tmp_path, opset):
    source = written(tmp_path, net(opset))
    prepared = prepare(source, tmp_path / "scratch")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    nodes = prepared.model.graph.node
    assert [node.op_type for node in nodes] == ["Conv", "Relu"]
    assert prepared.layers == (QuantisableLayer(nodes[0].name, "w"),)
    assert all(node.name for node in nodes)
    assert prepared.model.graph.value_info
    assert {each.domain for each in prepared.model.opset_import} == {""}
    assert max(each.version for each in prepared.model.opset_import) >= 13
    copy = written(tmp_path, prepared.model, "prepared.onnx")
    (expected,), (actual,) = outputs(source, X), outputs(copy, X)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_nodes_of_one_name_get_names_of_their_own(tmp_path):
    proto = model("g (float[2] x) => (float[2] y) { a = Neg(x) y = Sin(a) }")
    for node in proto.graph.node:
        node.name = "same"
    prepared = prepare(written(tmp_path, proto), tmp_path / "scratch")
    assert len({node.name for node in prepared.model.graph.node}) == 2


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_BYTES", 10)
    with pytest.raises(Refusal, match="too large for int8") as refused:
        prepare(written(tmp_path, net()), tmp_path / "scratch")
    assert refused.value.code == Code.MODEL_UNSUPPORTED


def test_a_version_that_cannot_be_converted_is_refused(tmp_path):
    proto = net(11)
    proto.graph.node.append(helper.make_node("Mix", ["y"], ["z"]))
    with pytest.raises(Refusal, match="without int8") as refused:
        prepare(written(tmp_path, proto), tmp_path / "scratch")
    assert refused.value.got == "opset 11"


def test_what_the_runtime_refuses_leaves_no_file(tmp_path):
    proto = onnx.ModelProto()
    proto.CopyFrom(net())
    proto.graph.node[0].op_type = "Nonsense"
    with pytest.raises(Refusal) as refused:
        prepare(written(tmp_path, proto), tmp_path / "scratch")
    assert refused.value.code == Code.MODEL_INVALID
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_of_float16_that_is_too_large_in_float32_is_refused(
    tmp_path, monkeypatch
):
    """Its file is small enough: its tensors are not, once they are widened."""
    text = "g (float16[4, 64] x) => (float16[4, 64] y) <float16[64, 64] w> { y = MatMul(x, w) }"
    path = written(tmp_path, text)
    monkeypatch.setattr(module, "LARGEST_BYTES", 12_000)
    assert path.stat().st_size < 12_000
    with pytest.raises(Refusal) as error:
        prepare(path, tmp_path / "scratch")
    assert error.value.code == Code.MODEL_UNSUPPORTED

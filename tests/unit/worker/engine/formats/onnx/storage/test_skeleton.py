"""Skeletons of files: references to weights, and refusals of damaged files."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx.stored_weights import CONVOLUTION, LARGE
from support.onnx.text import model, written

from convpress.refusal import Refusal
from worker.engine.formats.onnx.storage.skeleton import read


@pytest.mark.parametrize(
    "location", ["model.onnx", "weights.bin", "../weights.bin", "/etc/passwd"]
)
@pytest.mark.parametrize("place", ["initializer", "constant", "branch", "function"])
def test_weights_in_other_files_are_refused_wherever_they_hide(
    tmp_path, place, location
):
    hidden = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    hidden.ClearField("float_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value=location)
    proto = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    constant = helper.make_node("Constant", [], ["w"], value=hidden)
    if place == "initializer":
        proto.graph.initializer.append(hidden)
    elif place == "constant":
        proto.graph.node.append(constant)
    elif place == "branch":
        branch = helper.make_graph(
            [constant],
            "b",
            [],
            [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])],
        )
        proto.graph.node.append(
            helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
        )
    else:
        proto.functions.append(
            helper.make_function("acme", "f", [], ["w"], [constant], [])
        )
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(Refusal) as caught:
        read(path)
    assert caught.value.code == "model_unsupported"


@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_damaged_files_are_refused_or_read_but_nothing_else(
    tmp_path_factory, cut, at, byte
):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(model(CONVOLUTION).SerializeToString())
    content[at % len(content)] = byte
    path = folder / "damaged.onnx"
    path.write_bytes(content[: len(content) - cut % len(content)])
    try:
        skeleton = read(path)
    except Refusal as refusal:
        assert refusal.code in ("model_invalid", "model_unsupported")  # noqa: PT017 - reading it is right, too
    else:
        assert isinstance(skeleton, onnx.ModelProto)


def test_other_operators_keep_their_tensors_at_hand(tmp_path):
    table = numpy_helper.from_array(np.ones(LARGE, np.float32), "table")
    proto = model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    for domain, kind in (("acme", "Constant"), ("", "Lookup")):
        proto.graph.node.append(
            helper.make_node(kind, ["x"], [domain + kind], domain=domain, value=table)
        )
    assert read(written(tmp_path, proto)) == proto


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(Refusal, match="empty"):
        read(tmp_path / "model.onnx")

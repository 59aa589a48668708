"""A file read as a skeleton and written again is the same file, and at no time in memory."""

import tracemalloc

import numpy as np
import onnx
import pytest
from digits import MODELS
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.onnx_text import model, written

from convpress.refusal import Refusal
from worker.engine.formats.onnx import file as onnx_file

LARGE = 4096
CONVOLUTION = (
    "g (float[1, 3, 8, 8] x) => (float[1, 16, 6, 6] y) <float[16, 3, 3, 3] w> { y = Conv(x, w) }"
)


def weights_in(path, kind):
    """A model whose two large weights are stored as `kind`: a field of TensorProto, or Constant nodes."""
    proto = model(
        f"g (float[1, {LARGE}] x) => (float[1, {LARGE}] y) {{ a = Add(x, one) y = Add(a, two) }}"
    )
    for name in ("two", "one"):
        values = np.random.default_rng(len(name)).standard_normal(LARGE).astype(np.float32)
        if kind == "float_data":
            tensor = helper.make_tensor(name, TensorProto.FLOAT, [LARGE], values, raw=False)
        else:
            tensor = numpy_helper.from_array(values, name)
        if kind == "constants":
            proto.graph.node.insert(0, helper.make_node("Constant", [], [name], value=tensor))
        else:
            proto.graph.initializer.append(tensor)
    onnx.save(proto, path)
    return proto


def weights_of(proto):
    """The tensors of such a model, wherever they are."""
    constants = [node.attribute[0].t for node in proto.graph.node if node.op_type == "Constant"]
    return constants or list(proto.graph.initializer)


@pytest.mark.parametrize("file", sorted(path.name for path in MODELS.glob("*.onnx")))
def test_an_unedited_model_comes_back_byte_for_byte(tmp_path, file):
    onnx_file.write(onnx_file.read(MODELS / file), MODELS / file, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (MODELS / file).read_bytes()


@pytest.mark.parametrize("kind", ["raw_data", "constants"])
def test_all_that_a_model_carries_comes_back(tmp_path, kind):
    proto = weights_in(tmp_path / "model.onnx", kind)
    proto.doc_string, proto.producer_name, proto.model_version, proto.domain = (
        "about",
        "someone",
        7,
        "acme",
    )
    helper.set_model_props(proto, {"key": "value"})
    weights_of(proto)[0].doc_string = "the large one"
    proto.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0]),
            helper.make_tensor("at", TensorProto.INT64, [1], [3]),
            [9],
        )
    )
    proto.training_info.add().initialization.name = "start"
    proto.graph.quantization_annotation.add().tensor_name = "large"
    onnx.save(proto, tmp_path / "model.onnx")
    onnx_file.write(
        onnx_file.read(tmp_path / "model.onnx"), tmp_path / "model.onnx", tmp_path / "again.onnx"
    )
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["raw_data", "float_data", "constants"])
def test_large_weights_are_left_in_the_file_and_read_from_there(tmp_path, kind):
    path = tmp_path / "model.onnx"
    proto = weights_in(path, kind)
    skeleton = onnx_file.read(path)
    assert len(skeleton.SerializeToString()) < 1000
    for tensor, original in zip(weights_of(skeleton), weights_of(proto), strict=True):
        assert tensor.data_location == TensorProto.EXTERNAL
        np.testing.assert_array_equal(
            onnx_file.array(tensor, path), numpy_helper.to_array(original)
        )
    # any other ONNX library finds them there as well
    onnx.external_data_helper.load_external_data_for_model(skeleton, str(tmp_path))
    for tensor, original in zip(weights_of(skeleton), weights_of(proto), strict=True):
        np.testing.assert_array_equal(
            numpy_helper.to_array(tensor), numpy_helper.to_array(original)
        )


def test_weights_stored_as_typed_floats_come_back_as_raw_ones(tmp_path):
    proto = weights_in(tmp_path / "model.onnx", "float_data")
    onnx_file.write(
        onnx_file.read(tmp_path / "model.onnx"), tmp_path / "model.onnx", tmp_path / "again.onnx"
    )
    again = onnx.load(tmp_path / "again.onnx")
    assert (
        again.graph.initializer[0].raw_data
        == numpy_helper.to_array(proto.graph.initializer[0]).tobytes()
    )
    assert again.graph.node == proto.graph.node
    onnx.checker.check_model(again, full_check=True)


def test_reading_and_writing_hold_none_of_the_weights(tmp_path):
    path = tmp_path / "model.onnx"
    size = 32 << 20
    proto = model(f"g (float[{size // 4}] x) => (float[{size // 4}] y) {{ y = Add(x, w) }}")
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(size // 4, np.float32), "w"))
    onnx.save(proto, path)
    del proto
    tracemalloc.start()
    try:
        onnx_file.write(onnx_file.read(path), path, tmp_path / "again.onnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size // 8
    assert (tmp_path / "again.onnx").stat().st_size == path.stat().st_size


@pytest.mark.parametrize("location", ["model.onnx", "weights.bin", "../weights.bin", "/etc/passwd"])
@pytest.mark.parametrize("place", ["initializer", "constant", "branch", "function"])
def test_weights_in_other_files_are_refused_wherever_they_hide(tmp_path, place, location):
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
            [constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])]
        )
        proto.graph.node.append(
            helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
        )
    else:
        proto.functions.append(helper.make_function("acme", "f", [], ["w"], [constant], []))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(Refusal) as caught:
        onnx_file.read(path)
    assert caught.value.code == "model_unsupported"


@given(cut=st.integers(0, 2000), at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_damaged_files_are_refused_or_read_but_nothing_else(tmp_path_factory, cut, at, byte):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(model(CONVOLUTION).SerializeToString())
    content[at % len(content)] = byte
    path = folder / "damaged.onnx"
    path.write_bytes(content[: len(content) - cut % len(content)])
    try:
        skeleton = onnx_file.read(path)
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
    assert onnx_file.read(written(tmp_path, proto)) == proto


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(Refusal, match="empty"):
        onnx_file.read(tmp_path / "model.onnx")


@pytest.mark.parametrize("dims", [[16, 3, 3, 4], [16, 3, 3], [16, 3, 3, -3]])
def test_a_weight_that_does_not_fill_its_shape_is_refused(tmp_path, dims):
    proto = model(CONVOLUTION)
    proto.graph.initializer[0].dims[:] = dims
    path = written(tmp_path, proto)
    with pytest.raises(Refusal) as caught:
        onnx_file.array(onnx_file.read(path).graph.initializer[0], path)
    assert caught.value.code == "model_invalid"


def test_a_model_is_not_written_over_its_own_weights(tmp_path):
    path = written(tmp_path, CONVOLUTION)
    with pytest.raises(ValueError, match="cannot be written over"):
        onnx_file.write(onnx_file.read(path), path, path)
    assert onnx.load(path) == model(CONVOLUTION)

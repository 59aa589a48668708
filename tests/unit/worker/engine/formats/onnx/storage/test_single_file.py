"""An unedited model is written as it was read, without its weights in memory."""

import tracemalloc

import numpy as np
import onnx
import pytest
from digits import MODELS
from onnx import TensorProto, helper, numpy_helper
from support.onnx.stored_weights import CONVOLUTION, weights_in, weights_of
from support.onnx.text import model, written

from worker.engine.formats.onnx.storage.single_file import write
from worker.engine.formats.onnx.storage.skeleton import read


@pytest.mark.parametrize("file", sorted(path.name for path in MODELS.glob("*.onnx")))
def test_an_unedited_model_comes_back_byte_for_byte(tmp_path, file):
    write(read(MODELS / file), MODELS / file, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (MODELS / file).read_bytes()


@pytest.mark.parametrize("kind", ["raw_data", "constants"])
def test_all_that_a_model_carries_comes_back(tmp_path, kind):
    proto = weights_in(tmp_path / "model.onnx", kind)
    proto.doc_string = "about"
    proto.producer_name = "someone"
    proto.model_version = 7
    proto.domain = "acme"
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
    write(
        read(tmp_path / "model.onnx"), tmp_path / "model.onnx", tmp_path / "again.onnx"
    )
    assert (tmp_path / "again.onnx").read_bytes() == (
        tmp_path / "model.onnx"
    ).read_bytes()


def test_weights_stored_as_typed_floats_come_back_as_raw_ones(tmp_path):
    proto = weights_in(tmp_path / "model.onnx", "float_data")
    write(
        read(tmp_path / "model.onnx"), tmp_path / "model.onnx", tmp_path / "again.onnx"
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
    proto = model(
        f"g (float[{size // 4}] x) => (float[{size // 4}] y) {{ y = Add(x, w) }}"
    )
    proto.graph.initializer.append(
        numpy_helper.from_array(np.ones(size // 4, np.float32), "w")
    )
    onnx.save(proto, path)
    del proto
    tracemalloc.start()
    try:
        write(read(path), path, tmp_path / "again.onnx")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size // 8
    assert (tmp_path / "again.onnx").stat().st_size == path.stat().st_size


def test_a_model_is_not_written_over_its_own_weights(tmp_path):
    path = written(tmp_path, CONVOLUTION)
    with pytest.raises(ValueError, match="cannot be written over"):
        write(read(path), path, path)
    assert onnx.load(path) == model(CONVOLUTION)

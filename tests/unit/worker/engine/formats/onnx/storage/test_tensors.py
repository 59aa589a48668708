"""Weights are read from the file that a skeleton refers to."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from support.onnx.stored_weights import CONVOLUTION, weights_in, weights_of
from support.onnx.text import model, written

from convpress.refusal import Refusal
from worker.engine.formats.onnx.storage.skeleton import read
from worker.engine.formats.onnx.storage.tensors import array


@pytest.mark.parametrize("kind", ["raw_data", "float_data", "constants"])
def test_large_weights_are_left_in_the_file_and_read_from_there(tmp_path, kind):
    path = tmp_path / "model.onnx"
    proto = weights_in(path, kind)
    skeleton = read(path)
    assert len(skeleton.SerializeToString()) < 1000
    for tensor, original in zip(weights_of(skeleton), weights_of(proto), strict=True):
        assert tensor.data_location == TensorProto.EXTERNAL
        np.testing.assert_array_equal(
            array(tensor, path), numpy_helper.to_array(original)
        )
    # any other ONNX library finds them there as well
    onnx.external_data_helper.load_external_data_for_model(skeleton, str(tmp_path))
    for tensor, original in zip(weights_of(skeleton), weights_of(proto), strict=True):
        np.testing.assert_array_equal(
            numpy_helper.to_array(tensor), numpy_helper.to_array(original)
        )


@pytest.mark.parametrize("dims", [[16, 3, 3, 4], [16, 3, 3], [16, 3, 3, -3]])
def test_a_weight_that_does_not_fill_its_shape_is_refused(tmp_path, dims):
    proto = model(CONVOLUTION)
    proto.graph.initializer[0].dims[:] = dims
    path = written(tmp_path, proto)
    with pytest.raises(Refusal) as caught:
        array(read(path).graph.initializer[0], path)
    assert caught.value.code == "model_invalid"

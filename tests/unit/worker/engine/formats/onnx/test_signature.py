"""Inputs and outputs of a graph, and arrays for the inputs."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx.text import model

from convpress.refusal import Code, Refusal
from worker.engine.formats.onnx.signature import input_specs, ones, output_specs
from worker.engine.model import TensorSpec, Values


def graph_of(text):
    return model(text).graph


def test_inputs_have_numbers_symbols_and_unknown_sizes():
    graph = graph_of("g (float[n, 3, 8] x, int64 k) => (float y) { y = Relu(x) }")
    graph.input[0].type.tensor_type.shape.dim[2].Clear()
    assert input_specs(graph) == (
        TensorSpec("x", "float32", ("n", 3, None)),
        TensorSpec("k", "int64", ()),
    )


def test_weights_among_the_inputs_are_none():
    graph = graph_of("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }")
    graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    assert [spec.name for spec in input_specs(graph)] == ["x"]


def test_an_input_that_selects_rows_has_their_number():
    graph = graph_of(
        "g (int64[5] x) => (float[5, 4] y) <float[9, 4] w> { y = Gather(w, x) }"
    )
    assert input_specs(graph)[0].rows == 9


def test_an_output_that_is_no_tensor_has_the_type_of_its_numbers():
    graph = graph_of(
        "g (float[2] x) => (seq(float16[2]) y, float[2] z) { z = Relu(x) }"
    )
    assert output_specs(graph) == (
        TensorSpec("y", "float16", None),
        TensorSpec("z", "float32", (2,)),
    )


def test_an_input_that_is_no_tensor_is_refused():
    graph = graph_of("g (seq(float[2]) x) => (float y) { y = SequenceLength(x) }")
    with pytest.raises(Refusal, match="is no tensor") as refused:
        input_specs(graph)
    assert refused.value.code == Code.MODEL_UNSUPPORTED


def test_an_input_without_a_type_is_refused():
    graph = helper.make_graph([], "g", [helper.make_empty_tensor_value_info("x")], [])
    with pytest.raises(Refusal, match="element type of 'x'") as refused:
        input_specs(graph)
    assert refused.value.code == Code.MODEL_INVALID


def test_arrays_are_ones_and_numbers_have_their_values():
    specs = [
        TensorSpec("x", "float16", ("n", 3)),
        TensorSpec("k", "int64", ()),
        TensorSpec("sizes", "int32", (2,)),
    ]
    arrays = ones(specs, {"x": (2, 3), "k": (7,), "sizes": Values((4, 5))})
    np.testing.assert_array_equal(arrays["x"], np.ones((2, 3), np.float16))
    assert arrays["k"].tolist() == 7
    assert arrays["sizes"].tolist() == [4, 5]
    assert arrays["sizes"].dtype == np.int32
    assert helper.np_dtype_to_tensor_dtype(arrays["x"].dtype) == TensorProto.FLOAT16

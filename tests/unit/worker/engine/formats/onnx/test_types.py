"""The types of values, in ONNX Runtime's words and in ONNX's messages."""

import pytest
from onnx import TensorProto
from support.onnx.text import model

from worker.engine.formats.onnx.types import ValueType, type_proto, value_types


def test_every_value_of_the_main_graph_has_its_type(tmp_path):
    proto = model(
        """g (float16[2, n] x) => (int64[k] y) <float[3, 4] w> {
            z = Constant <value = int64 {0}> ()  s = Shape(x)
            c = SequenceConstruct(s)  y = SequenceAt(c, z) }"""
    )
    types = value_types(proto, tmp_path / "model.onnx")
    assert types == {
        "x": ValueType("tensor(float16)", 2),
        "s": ValueType("tensor(int64)", 1),
        "c": ValueType("seq(tensor(int64))", None),
        "y": ValueType("tensor(int64)", None),
        "z": ValueType("tensor(int64)", None),
        "w": ValueType("tensor(float)", 2),
    }


@pytest.mark.parametrize(
    ("text", "element"),
    [("tensor(float16)", TensorProto.FLOAT16), ("seq(tensor(float))", None)],
)
def test_a_tensor_has_an_element_type(text, element):
    assert ValueType(text, 1).element == element


def test_types_are_messages_of_onnx():
    assert type_proto("tensor(bool)").tensor_type.elem_type == TensorProto.BOOL
    nested = type_proto("optional(seq(tensor(float)))")
    inner = nested.optional_type.elem_type.sequence_type.elem_type
    assert inner.tensor_type.elem_type == TensorProto.FLOAT
    with pytest.raises(ValueError, match="cannot be passed between steps"):
        type_proto("map(int64,tensor(float))")

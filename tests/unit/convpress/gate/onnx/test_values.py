"""Declared types of inputs, outputs and values are bounded in depth and size."""

import onnx
import pytest
from onnx import TensorProto, helper

from convpress.gate.onnx.check import require_safe_onnx
from convpress.limits import Limits
from convpress.refusal import Refusal


def refusal_of(tmp_path, declared, limits=None):
    """The refusal of a model with one input of a declared type; None where it passes."""
    value = helper.make_value_info("x", declared)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [value], [])), path)
    try:
        require_safe_onnx(path, limits or Limits())
    except Refusal as refusal:
        return refusal
    return None


def tensor(*shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_type_proto(kind, shape)


@pytest.mark.parametrize(
    "declared",
    [
        tensor(1, 3, 224, 224),
        tensor("N", None, 224, 224),
        tensor(-1, 0, 8),
        helper.make_sequence_type_proto(tensor(2)),
        helper.make_optional_type_proto(helper.make_sequence_type_proto(tensor(2))),
        helper.make_map_type_proto(TensorProto.INT64, tensor(2)),
    ],
)
def test_types_pass(tmp_path, declared):
    assert refusal_of(tmp_path, declared) is None


@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT, TensorProto.COMPLEX128, TensorProto.STRING]
)
def test_sizes_that_are_known_are_bounded_wherever_the_tensor_is(tmp_path, kind):
    large = tensor(2**20, "N", 2**20, kind=kind)
    for declared in (large, helper.make_sequence_type_proto(large)):
        refusal = refusal_of(tmp_path, declared)
        assert refusal.code == "model_over_limit"
        assert "(1048576, 1048576)" in refusal.detail


def test_types_within_types_are_bounded(tmp_path):
    declared = tensor(2)
    for _ in range(6):
        declared = helper.make_sequence_type_proto(declared)
    assert refusal_of(tmp_path, declared) is None
    refusal = refusal_of(tmp_path, declared, Limits(nesting=6))
    assert refusal.code == "model_over_limit"
    assert "nested 7 deep" in refusal.detail

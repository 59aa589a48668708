"""A tensor has as much data as its shape needs, in whichever field it lies."""

import onnx
import pytest
from onnx import TensorProto

from convpress.gate.onnx.tensors import Tensors
from convpress.gate.onnx.wire import Wire
from convpress.limits import Limits
from convpress.refusal import Refusal


def check(tensor, kind="tensor", **limits):
    wire = Wire(memoryview(tensor.SerializeToString()), Limits(**limits))
    return getattr(Tensors(wire, None), kind)(wire.whole(), "the graph")


def refusal_of(tensor, kind="tensor", **limits):
    with pytest.raises(Refusal) as refusal:
        check(tensor, kind, **limits)
    return refusal.value


def typed(kind, dims, **data):
    return TensorProto(name="w", data_type=kind, dims=dims, **data)


WHOLE = {
    "raw": typed(TensorProto.FLOAT, [2, 3], raw_data=bytes(24)),
    "raw of four bits": typed(TensorProto.INT4, [3], raw_data=bytes(2)),
    "floats": typed(TensorProto.FLOAT, [2], float_data=[1, 2]),
    "doubles": typed(TensorProto.DOUBLE, [2], double_data=[1, 2]),
    "integers": typed(TensorProto.INT64, [2], int64_data=[1, -1]),
    "four bits": typed(TensorProto.UINT4, [3], int32_data=[1, 2]),
    "complex": typed(TensorProto.COMPLEX64, [2], float_data=[1, 2, 3, 4]),
    "texts": typed(TensorProto.STRING, [2], string_data=[b"a", b"b"]),
    "a scalar": typed(TensorProto.FLOAT, [], raw_data=bytes(4)),
    "nothing": typed(TensorProto.FLOAT, [0, 7]),
}


@pytest.mark.parametrize("tensor", WHOLE.values(), ids=WHOLE)
def test_a_whole_tensor_passes_and_is_named(tensor):
    assert check(tensor) == b"w"
    onnx.numpy_helper.to_array(tensor)


BROKEN = {
    "too few bytes": typed(TensorProto.FLOAT, [2, 3], raw_data=bytes(23)),
    "too many bytes": typed(TensorProto.FLOAT, [2, 3], raw_data=bytes(25)),
    "too few numbers": typed(TensorProto.FLOAT, [2], float_data=[1]),
    "too few of a complex": typed(TensorProto.COMPLEX64, [2], float_data=[1, 2]),
    "texts as raw data": typed(TensorProto.STRING, [2], raw_data=b"ab"),
    "no such type": typed(77, [1], raw_data=bytes(4)),
    "a negative axis": typed(TensorProto.FLOAT, [-1]),
}


@pytest.mark.parametrize("tensor", BROKEN.values(), ids=BROKEN)
def test_a_tensor_without_its_data_is_damaged(tensor):
    assert refusal_of(tensor).code == "model_invalid"


def test_tensors_are_bounded_in_size_and_number():
    large = typed(TensorProto.FLOAT, [2**40], raw_data=bytes(4))
    assert refusal_of(large).code == "model_over_limit"
    assert refusal_of(WHOLE["raw"], tensors=0).code == "model_over_limit"


def test_a_sparse_tensor_is_its_values_and_its_dense_size():
    sparse = onnx.SparseTensorProto(
        values=typed(TensorProto.FLOAT, [1], raw_data=bytes(4)),
        indices=typed(TensorProto.INT64, [1], int64_data=[3]),
        dims=[2, 3],
    )
    assert check(sparse, "sparse") is None
    sparse.dims[0] = 2**40
    assert refusal_of(sparse, "sparse").code == "model_over_limit"
    sparse.dims[0] = 2
    sparse.values.raw_data = b""
    assert refusal_of(sparse, "sparse").code == "model_invalid"

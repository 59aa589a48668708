"""Element-wise operators, where torch's functions differ from ONNX's specification."""

import pytest
import torch
from onnx import TensorProto

from worker.engine.formats.onnx.operators.arithmetic import TABLE
from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError


@pytest.mark.parametrize(
    ("kind", "attributes", "operands", "expected"),
    [
        ("Div", {}, ([-7, 7], [2, 2]), [-3, 3]),
        ("Div", {}, ([-7.0], [2.0]), [-3.5]),
        ("Mod", {}, ([-7, 7], [3, -3]), [2, -2]),
        ("Mod", {"fmod": 1}, ([-7, 7], [3, -3]), [-1, 1]),
        ("Mean", {}, ([1.0], [2.0], [6.0]), [3.0]),
        ("Max", {}, ([1, 5], [4, 2], [3, 3]), [4, 5]),
        ("Sum", {}, ([1, 5], [4, 2], [3, 3]), [8, 10]),
        ("BitShift", {"direction": "LEFT"}, ([3], [2]), [12]),
        ("BitShift", {"direction": "RIGHT"}, ([12], [2]), [3]),
        ("Where", {}, ([True, False], [1, 2], [3, 4]), [1, 4]),
        ("Pow", {}, ([2.0, 3.0], [3, 2]), [8.0, 9.0]),
    ],
)
def test_a_value_is_that_of_the_specification(
    entry, kind, attributes, operands, expected
):
    tensors = [torch.tensor(values) for values in operands]
    assert entry(TABLE, kind, **attributes)(*tensors).tolist() == expected


INFINITE = torch.tensor([-torch.inf, 0.0, torch.inf, torch.nan])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [True, False, True, False]),
        ({"detect_negative": 0}, [False, False, True, False]),
        ({"detect_positive": 0}, [True, False, False, False]),
    ],
)
def test_infinity_counts_by_its_sign(entry, attributes, expected):
    assert entry(TABLE, "IsInf", **attributes)(INFINITE).tolist() == expected


@pytest.mark.parametrize(
    ("opset", "attributes", "bounds", "expected"),
    [
        (6, {"min": -1.0, "max": 2.0}, (), [-1, 0, 2]),
        (6, {}, (), [-5, 0, 5]),
        (13, {}, (None, torch.tensor(2.0)), [-5, 0, 2]),
        (13, {}, (), [-5, 0, 5]),
    ],
)
def test_bounds_may_be_open(entry, opset, attributes, bounds, expected):
    clip = entry(TABLE, "Clip", opset=opset, **attributes)
    assert clip(torch.tensor([-5.0, 0.0, 5.0]), *bounds).tolist() == expected


def test_a_cast_takes_the_type_or_is_left_to_the_runtime(entry):
    cast = entry(TABLE, "Cast", to=TensorProto.INT32)
    assert cast(torch.tensor([1.9, -1.9])).tolist() == [1, -1]
    with pytest.raises(UnlistedError):
        entry(TABLE, "Cast", to=TensorProto.STRING)


def test_powers_of_integers_are_left_to_the_runtime(entry):
    with pytest.raises(UnlistedError):
        entry(TABLE, "Pow", inputs=[Operand(torch.int64, 1)])

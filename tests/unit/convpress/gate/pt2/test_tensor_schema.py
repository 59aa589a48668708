"""The description of a tensor: its type, its device, its layout, and a size within the limit."""

import pytest
import torch

from convpress.gate.pt2.tensor_schema import DTYPES, device, layout, tensor_meta
from convpress.gate.pt2.tensors import item_bytes
from convpress.limits import Limits
from convpress.refusal import Refusal

META = {
    "dtype": 7,
    "sizes": [{"as_int": 2}, {"as_int": 3}],
    "requires_grad": False,
    "device": {"type": "cpu", "index": None},
    "strides": [{"as_int": 3}, {"as_int": 1}],
    "storage_offset": {"as_int": 0},
    "layout": 7,
}
BATCH = {"as_expr": {"expr_str": "s0", "hint": {"as_int": 5}}}


def code_of(check, value):
    with pytest.raises(Refusal) as refusal:
        check(value, "it")
    return refusal.value.code


def test_types_are_those_of_torch():
    for name, size in DTYPES.values():
        assert getattr(torch, name).itemsize == size == item_bytes(name)


def test_a_tensor_passes_up_to_the_limit_with_the_hints_of_its_sizes():
    tensor_meta(Limits(tensor_bytes=24))(META, "it")
    batched = META | {"sizes": [BATCH, {"as_int": 3}]}
    tensor_meta(Limits(tensor_bytes=60))(batched, "it")
    assert code_of(tensor_meta(Limits(tensor_bytes=59)), batched) == "model_over_limit"
    unhinted = META | {
        "sizes": [{"as_expr": {"expr_str": "s0", "hint": None}}, {"as_int": 3}]
    }
    tensor_meta(Limits(tensor_bytes=12))(unhinted, "it")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"dtype": 99}, "model_invalid"),
        ({"dtype": True}, "model_invalid"),
        ({"strides": [{"as_int": 1}]}, "model_invalid"),
        ({"sizes": [{"as_int": -1}, {"as_int": 3}]}, "model_invalid"),
        ({"layout": 1}, "model_unsupported"),
        ({"device": {"type": "cuda"}}, "model_unsupported"),
    ],
)
def test_other_tensors_are_refused(changed, code):
    assert code_of(tensor_meta(Limits()), META | changed) == code


def test_a_device_and_a_layout_have_the_form_of_one():
    device({"type": "cpu"}, "it")
    layout(7, "it")
    assert code_of(device, "cpu") == "model_invalid"
    assert code_of(layout, "strided") == "model_invalid"

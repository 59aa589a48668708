"""The index of tensors: torch reads each where the index says, within its member."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convpress.gate.archive import Member
from convpress.gate.pt2.tensors import CONSTANTS, WEIGHTS, stored_tensors
from convpress.limits import Limits
from convpress.refusal import Refusal

LIMITS = Limits()


def meta(**changed):
    sizes = [{"as_int": 2}, {"as_int": 3}]
    return {
        "dtype": 7,
        "sizes": sizes,
        "requires_grad": True,
        "device": {"type": "cpu", "index": None},
        "strides": [{"as_int": 3}, {"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "layout": 7,
        **changed,
    }


def entry(path="weight_0", **changed):
    return {
        "path_name": path,
        "is_param": True,
        "use_pickle": False,
        "tensor_meta": meta(**changed),
    }


def member(size, name="data/weights/weight_0"):
    return Member(name, 0, size, size, 0, deflated=False)


def read(entries, *members, limits=LIMITS):
    by_name = {each.name: each for each in members or [member(24)]}
    return stored_tensors({"config": entries}, WEIGHTS, by_name, limits)


def refusal_of(entries, *members, **options):
    with pytest.raises(Refusal) as refusal:
        read(entries, *members, **options)
    return refusal.value


def numbers(*values):
    return [{"as_int": value} for value in values]


def test_a_tensor_is_read():
    [tensor] = read({"a.b": entry()}).values()
    assert (tensor.name, tensor.member, tensor.dtype) == (
        "a.b",
        "data/weights/weight_0",
        "float32",
    )
    assert (tensor.sizes, tensor.strides, tensor.storage_offset) == ((2, 3), (3, 1), 0)
    assert tensor.is_parameter
    assert tensor.requires_grad


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=3),
    st.integers(0, 5),
    st.integers(0, 40),
)
def test_a_tensor_lies_within_its_member_as_torch_says(axes, offset, elements):
    sizes = [size for size, _ in axes]
    strides = [stride for _, stride in axes]
    changed = {
        "sizes": numbers(*sizes),
        "strides": numbers(*strides),
        "storage_offset": {"as_int": offset},
    }
    try:
        torch.zeros(elements).as_strided(sizes, strides, offset)
    except RuntimeError:
        assert (
            refusal_of({"a": entry(**changed)}, member(4 * elements)).code
            == "model_invalid"
        )
    else:
        read({"a": entry(**changed)}, member(4 * elements))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": entry(dtype=5, requires_grad=True)}, "gradients"),
        (
            {"a": entry(sizes=[{"as_expr": {"expr_str": "s0"}}], strides=numbers(1))},
            "no number",
        ),
        ({"a": entry(strides=numbers(1))}, "as many strides"),
        ({"a": entry(), "b": entry(dtype=4, requires_grad=False)}, "float32, int32"),
        ({"a": entry(path="weight_1")}, "does not have"),
        ({"a": {**entry(), "more": 1}}, "'more'"),
        ({"a": {}}, "no member is_param"),
    ],
)
def test_contradictions_are_invalid(entries, words):
    refusal = refusal_of(entries)
    assert refusal.code == "model_invalid"
    assert words in refusal.detail


@pytest.mark.parametrize(
    "changed",
    [
        {"use_pickle": True},
        {"tensor_meta": None},
        {"path_name": "custom_obj_0"},
        {"path_name": "tensor_0"},
        {"path_name": "weight_0/../../x"},
        {"path_name": "weight_\u0661"},
    ],
    ids=str,
)
def test_what_torch_would_unpickle_is_unsafe(changed):
    assert refusal_of({"a": {**entry(), **changed}}).code == "model_unsafe"


def test_a_member_that_is_no_whole_number_of_elements_is_invalid():
    assert "no whole number" in refusal_of({"a": entry()}, member(25)).detail


def test_views_of_one_member_pass_and_repeated_elements_are_bounded():
    tied = {"a": entry(), "b": entry(sizes=numbers(3, 2), strides=numbers(2, 1))}
    assert len(read(tied)) == 2
    spread = {"a": entry(sizes=numbers(1000, 1000), strides=numbers(0, 0))}
    assert read(spread)["a"].sizes == (1000, 1000)
    refusal = refusal_of(spread, limits=Limits(inflated_bytes=3_999_999))
    assert refusal.code == "model_over_limit"


def test_too_many_tensors_are_over_the_limit():
    entries = {"a": entry(), "b": entry()}
    assert refusal_of(entries, limits=Limits(tensors=1)).code == "model_over_limit"


def test_constants_have_members_of_their_own():
    index = {"config": {"c": entry("tensor_3")}}
    place = member(24, "data/constants/tensor_3")
    assert (
        stored_tensors(index, CONSTANTS, {place.name: place}, Limits())["c"].member
        == place.name
    )

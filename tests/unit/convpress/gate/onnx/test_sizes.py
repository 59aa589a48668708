"""Sizes of tensors, whose product may be of any length."""

import pytest

from convpress.gate.onnx import sizes
from convpress.limits import Limits
from convpress.refusal import Refusal


@pytest.mark.parametrize(("dims", "count"), [([], 1), ([2, 3], 6), ([0, 10**6], 0)])
def test_a_size_within_the_limit_is_the_number_of_elements(dims, count):
    assert sizes.bounded_size(dims, 32, "x", Limits()) == count


@pytest.mark.parametrize(
    ("dims", "bits", "code"),
    [
        ([-1], 32, "model_invalid"),
        ([1] * 65, 32, "model_invalid"),
        ([26], 32, "model_over_limit"),
        ([0, 101], 8, "model_over_limit"),
        ([2**62, 2**62], 8, "model_over_limit"),
        ([201], 4, None),
        ([202], 4, "model_over_limit"),
    ],
)
def test_other_shapes_are_refused(dims, bits, code):
    limits = Limits(tensor_bytes=100)
    if code is None:
        assert sizes.bounded_size(dims, bits, "x", limits) == dims[0]
        return
    with pytest.raises(Refusal) as refusal:
        sizes.bounded_size(dims, bits, "x", limits)
    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("elements", "bits", "size"), [(0, 4, 0), (1, 4, 1), (2, 4, 1), (5, 2, 2)]
)
def test_small_elements_share_bytes(elements, bits, size):
    assert sizes.packed_bytes(elements, bits) == size


def test_a_long_shape_is_shown_in_part():
    assert sizes.shown_shape([1] * 1000) == str((1,) * 16)

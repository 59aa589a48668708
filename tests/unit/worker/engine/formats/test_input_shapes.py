"""Every input gets a shape: the user's, else the model's, with 1 for a free batch."""

import pytest

from convpress.refusal import Refusal
from worker.engine.formats.input_shapes import bind, unstated_numbers
from worker.engine.model import TensorSpec

IMAGE = TensorSpec("image", "float32", ("batch", 3, "height", None))
FIXED = TensorSpec("fixed", "float32", (None, 10))
SCALAR = TensorSpec("rate", "int64", ())
ANYTHING = TensorSpec("x", "float32", None)


def refused(inputs, shapes):
    with pytest.raises(Refusal) as caught:
        bind(inputs, shapes)
    assert caught.value.field == "input_shape"
    return caught.value


def test_what_the_model_tells_needs_no_user():
    assert bind([FIXED, SCALAR], None) == {"fixed": (1, 10), "rate": ()}


def test_a_single_shape_is_that_of_the_only_input():
    assert bind([IMAGE], {"": (4, 3, 8, 9)}) == {"image": (4, 3, 8, 9)}
    assert bind([ANYTHING], {"": (2, 5)}) == {"x": (2, 5)}


def test_sizes_that_share_a_name_are_told_by_either_input():
    state = TensorSpec("state", "float32", (2, "batch", "height"))
    assert bind([IMAGE, state], {"image": (4, 3, 8, 9)}) == {
        "image": (4, 3, 8, 9),
        "state": (2, 4, 8),
    }
    assert bind(
        [FIXED, TensorSpec("s", "float32", ("batch",)), state], {"state": (2, 1, 8)}
    )["s"] == (1,)


def test_what_is_missing_is_named():
    refusal = refused([IMAGE, FIXED], None)
    assert refusal.code == "input_shape_required"
    assert refusal.expected == "image=1x3xheightx?"
    assert "'image'" in refusal.detail
    assert "2 and 3" in refusal.detail
    assert refused([ANYTHING], None).expected == "a shape"


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        ({"": (1, 3, 8)}, "1x3x8"),
        ({"": (1, 4, 8, 8)}, "1x4x8x8"),
        ({"image": (1, 3, 8, 8, 8)}, "1x3x8x8x8"),
    ],
    ids=["rank", "channels", "named"],
)
def test_a_shape_that_contradicts_the_model_is_refused(shapes, got):
    refusal = refused([IMAGE], shapes)
    assert refusal.code == "input_shape_mismatch"
    assert refusal.got == got


def test_two_sizes_for_one_name_are_refused():
    both = [TensorSpec(name, "float32", ("batch", "side")) for name in "ab"]
    refusal = refused(both, {"a": (1, 8), "b": (1, 9)})
    assert refusal.code == "input_shape_mismatch"
    assert refusal.expected == "1x8"
    assert refusal.got == "1x9"


@pytest.mark.parametrize(
    "shapes", [{"": (1, 10)}, {"other": (1, 10)}], ids=["no name", "wrong name"]
)
def test_a_shape_for_no_input_is_refused(shapes):
    refusal = refused([FIXED, SCALAR], shapes)
    assert refusal.code == "input_shape_mismatch"
    assert "fixed=?x10" in refusal.expected


SIZES = [TensorSpec("x", "float32", (1, 3, 8, 8)), TensorSpec("sizes", "int64", (2,))]


def test_what_is_written_for_a_list_of_whole_numbers_are_its_values():
    bound = bind(SIZES, {"sizes": (32, 64)})
    assert (bound["sizes"], SIZES[1].axes(bound["sizes"])) == ((32, 64), (2,))
    assert SIZES[1].stated(bound["sizes"]).tolist() == [32, 64]
    assert unstated_numbers(SIZES, bound) is None


def test_a_list_without_values_is_named_with_the_way_to_state_them():
    bound = bind(SIZES, None)
    assert SIZES[1].stated(bound["sizes"]) is None
    assert "sizes=NUMBERxNUMBER" in unstated_numbers(SIZES, bound)

"""Input shapes: what is read, and what is refused."""

import pytest

from convpress.refusal import Code, Refusal
from convpress.shapes import format_shape, parse_input_shape


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_text_is_no_shape(text):
    assert parse_input_shape(text) is None


def test_a_name_may_hold_an_equals_sign():
    assert parse_input_shape("a=b=1x3") == {"a=b": (1, 3)}


def test_what_is_written_is_read_again():
    shape = (1, 3, 224, 224)
    assert parse_input_shape(format_shape(shape).upper()) == {"": shape}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("1x3x", "is not a shape"),
        ("1,3,", "is not a shape"),
        ("1x3,4", "is not a shape"),
        ("[1,3", "is not a shape"),
        ("[1,3)", "is not a shape"),
        ("[1,,3]", "is not a shape"),
        ("[[1,3]]", "is not a shape"),
        ("a=1,3", "is not a shape"),
        ("=1x3", "is not a shape"),
        ("-1x3", "is not a shape"),
        ("1x1234567890", "is not a shape"),
        ("x".join("1" * 17), "is not a shape"),
        ("1x0x3", "sizes must be positive"),
        ("a=1,a=2", "input 'a' is named twice"),
        ("1" * 2001, "longer than 2000 characters"),
    ],
)
def test_anything_else_is_refused(text, detail):
    with pytest.raises(Refusal, match=detail) as refused:
        parse_input_shape(text)
    assert refused.value.code == Code.INPUT_SHAPE_INVALID
    assert refused.value.field == "input_shape"
    assert len(refused.value.got) <= 83


@pytest.mark.parametrize(
    "text",
    [
        "1,3,224,224",
        "1, 3, 224, 224",
        "[1,3,224,224]",
        "(1, 3, 224, 224)",
        "(1, 3, 224, 224,)",
        "1X3X224X224",
        " [ 1 , 3 , 224 , 224 ] ",
    ],
)
def test_a_shape_is_read_as_programs_print_it(text):
    assert parse_input_shape(text) == {"": (1, 3, 224, 224)}


def test_lists_have_names_and_types_as_other_shapes():
    shapes = parse_input_shape("image=[1,3,8,8], ids=int64:(1, 20),n=(4,)")
    assert shapes == {"image": (1, 3, 8, 8), "ids": (1, 20), "n": (4,)}
    assert shapes["ids"].dtype == "int64"
    assert parse_input_shape("int64:1,20")[""].dtype == "int64"


def test_brackets_in_a_name_stay_in_it():
    assert parse_input_shape("x(1)=[1,3]") == {"x(1)": (1, 3)}


@pytest.mark.parametrize("text", ["tokens=int64:1x20", "tokens= int64:1x20 ,x=3"])
def test_a_type_may_stand_before_the_sizes(text):
    shape = parse_input_shape(text)["tokens"]
    assert shape == (1, 20)
    assert shape.dtype == "int64"


def test_an_unknown_type_is_refused():
    with pytest.raises(
        Refusal, match="'string' is not a type of inputs: these are float16"
    ):
        parse_input_shape("tokens=string:1x20")
    with pytest.raises(
        Refusal, match=r"'float' is not a type of inputs: did you mean float\d\d\?"
    ):
        parse_input_shape("tokens=float:1x20")

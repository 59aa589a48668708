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
        ("1,3", "is not a shape"),
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


@pytest.mark.parametrize("text", ["tokens=int64:1x20", "tokens= int64:1x20 ,x=3"])
def test_a_type_may_stand_before_the_sizes(text):
    shape = parse_input_shape(text)["tokens"]
    assert shape == (1, 20)
    assert shape.dtype == "int64"


def test_an_unknown_type_is_refused():
    with pytest.raises(Refusal, match="'string' is not a type of inputs"):
        parse_input_shape("tokens=string:1x20")

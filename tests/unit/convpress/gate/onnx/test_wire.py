"""A walk over the fields of a message is counted, and reads no more than it needs."""

import pytest

from convpress.gate.onnx.wire import Wire, shown, signed
from convpress.gate.protobuf import write_varint
from convpress.limits import Limits
from convpress.refusal import Refusal


def wire(content, **limits):
    return Wire(memoryview(content), Limits(**limits))


def only(reader):
    [field] = reader.fields(reader.whole(), "it")
    return field


def test_all_fields_count_for_the_whole_model():
    reader = wire(b"\x08\x01\x08\x02", fields=3)
    assert len(list(reader.fields(reader.whole(), "it"))) == 2
    with pytest.raises(Refusal) as refusal:
        list(reader.fields(reader.whole(), "it"))
    assert refusal.value.code == "model_over_limit"


def test_a_field_that_comes_once_may_not_come_twice():
    reader = wire(b"\x08\x01\x08\x02")
    with pytest.raises(Refusal, match="field 1 of it is there twice, at byte 2"):
        list(reader.fields(reader.whole(), "it", once=(1,)))


def test_messages_leave_out_numbers():
    reader = wire(b"\x08\x01\x12\x01a\x25" + bytes(4))
    numbers = [field.number for field in reader.messages(reader.whole(), "it")]
    assert numbers == [2]


def test_numbers_are_packed_or_alone_and_no_more_than_refute_the_limit():
    minus_one = write_varint(2**64 - 1)
    alone = wire(b"\x08" + minus_one)
    assert alone.numbers(only(alone)) == [-1]
    packed = wire(b"\x0a\x0c\x05\x07" + minus_one)
    assert packed.numbers(only(packed)) == [5, 7, -1]
    assert packed.count_numbers(only(packed)) == 3
    many = wire(b"\x0a\x64" + b"\x01" * 100, nesting=8)
    assert len(many.numbers(only(many))) == 9
    fixed = wire(b"\x0d" + bytes(4))
    assert fixed.numbers(only(fixed)) == []


def test_a_long_name_is_refused_before_it_is_copied():
    name = b"\x0a" + write_varint(10_001) + b"x" * 10_001
    reader = wire(name)
    with pytest.raises(Refusal, match="has 10001 bytes"):
        reader.text(only(reader))
    short = wire(b"\x0a\x02hi")
    assert short.text(only(short)) == b"hi"


@pytest.mark.parametrize(
    ("number", "value"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63))]
)
def test_a_number_of_64_bits_has_a_sign(number, value):
    assert signed(number) == value


def test_a_name_is_shown_in_part_and_without_harm():
    assert shown(b"conv\xff") == repr("conv\ufffd")
    assert len(shown(b"x" * 1000)) == 82

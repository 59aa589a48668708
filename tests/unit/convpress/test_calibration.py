"""What is said of calibration is read, or refused with the field that is wrong."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convpress.calibration import (
    InputValues,
    choose_calibration,
    parse_calibration,
    parse_input_values,
)
from convpress.refusal import Code, Refusal


def refusal(call, *arguments):
    with pytest.raises(Refusal) as refused:
        call(*arguments)
    assert refused.value.expected
    assert len(refused.value.got) <= 80
    return refused.value.code, refused.value.field


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (None, "synthetic"),
        ("", "synthetic"),
        ("synthetic", "synthetic"),
        ("none", "none"),
    ],
)
def test_calibrations_without_samples(text, kind):
    assert choose_calibration(parse_calibration(text), samples=False) == kind


@pytest.mark.parametrize("text", [None, "", "samples"])
def test_samples_are_to_be_calibrated_on(text):
    assert choose_calibration(parse_calibration(text), samples=True) == "samples"


@pytest.mark.parametrize(
    ("asked", "samples"), [("samples", False), ("none", True), ("synthetic", True)]
)
def test_a_calibration_that_contradicts_the_samples_is_refused(asked, samples):
    with pytest.raises(Refusal) as refused:
        choose_calibration(asked, samples=samples)
    assert refused.value.code == Code.CALIBRATION_INVALID
    assert refused.value.field == "calibration"
    assert "samples" in refused.value.expected


@pytest.mark.parametrize("text", ["real", "None", "synthetic ", "x" * 5000])
def test_there_is_no_other_calibration(text):
    assert refusal(parse_calibration, text) == (Code.CALIBRATION_INVALID, "calibration")


def test_nothing_told_is_nothing_known():
    assert parse_input_values(None, "", None) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_range_is_read_as_it_is_written(low, width):
    assert parse_input_values(f"{low},{low + width}", None, None) == InputValues(
        (low, low + width), None, None
    )


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_numbers_are_read_as_they_are_written(numbers):
    text = ", ".join(map(str, numbers))
    assert parse_input_values(None, text, text) == InputValues(
        None, tuple(numbers), tuple(numbers)
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        (("0", None, None), "input_range"),
        (("1,0", None, None), "input_range"),
        (("1,1", None, None), "input_range"),
        (("0,1,2", None, None), "input_range"),
        (("0,inf", None, None), "input_range"),
        (("-1e308,1e308", None, None), "input_range"),
        (("0,1e-320", None, None), "input_range"),
        (("0 1", None, None), "input_range"),
        (("0,1", "0", None), "input_range"),
        (("0,1", None, "1"), "input_range"),
        ((None, "nan", "1"), "input_mean"),
        ((None, "a,b", "1"), "input_mean"),
        ((None, ",", "1"), "input_mean"),
        ((None, "0," * 2000 + "0", "1"), "input_mean"),
        ((None, "0", "0"), "input_std"),
        ((None, "0", "-1"), "input_std"),
        ((None, "0", "1e-300"), "input_std"),
        ((None, "0.5", None), "input_std"),
        ((None, "0.5", ""), "input_std"),
        ((None, None, "0.5"), "input_mean"),
    ],
)
def test_values_that_cannot_be_are_refused_by_field(values, field):
    assert refusal(parse_input_values, *values) == (Code.INPUT_RANGE_INVALID, field)


@given(st.text(alphabet="0123456789.,e-+ naif_", max_size=30))
def test_whatever_is_written_is_read_as_finite_numbers_or_refused(text):
    with suppress(Refusal):
        values = parse_input_values(None, text, "1")
        assert values is None or all(map(math.isfinite, values.mean))

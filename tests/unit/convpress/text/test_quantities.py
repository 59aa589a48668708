"""Quantities change their unit and their digits at the bounds."""

import pytest

from convpress.text import quantities


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (10**9, "1.00 G"), (10**15, "1000 T")],
)
def test_a_count_has_three_digits(number, text):
    assert quantities.amount(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB")]
)
def test_a_size_is_in_powers_of_1024(number, text):
    assert quantities.size(number) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0 %"), (1, "100 %"), (0.00123, "0.12 %"), (0.01, "1.0 %"), (1.5, "150.0 %")],
)
def test_a_share_below_one_hundredth_has_one_more_digit(fraction, text):
    assert quantities.percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "10 s"),
        (54, "50 s"),
        (55, "1 min"),
        (3569, "59 min"),
        (3600, "1 h 0 min"),
    ],
)
def test_a_duration_is_rough(seconds, text):
    assert quantities.about(seconds) == text

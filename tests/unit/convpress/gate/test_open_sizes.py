"""Sizes to be stated: those that no batch fills."""

import pytest

from convpress.gate.open_sizes import unstated


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({}, None),
        ({"x": ()}, None),
        ({"x": (1, 3, 8)}, None),
        ({"x": ("n", 3)}, None),
        ({"x": (None, 3)}, None),
        ({"x": ("n", "n")}, None),
        ({"x": ("n", None, 8)}, "1x?x8"),
        ({"x": ("n", "h")}, "1xh"),
        ({"x": (1, "n"), "y": ("n", 4)}, None),
        ({"x": (1, "h"), "y": ("n", 4)}, "x=1xh"),
        ({"x": (1, "h"), "y": (None, "w")}, "x=1xh,y=1xw"),
    ],
)
def test_what_no_batch_fills_is_to_be_stated(shapes, text):
    assert unstated(shapes) == text


def test_a_batch_has_as_many_samples_as_its_symbol_needs():
    assert unstated({"x": ("n", None)}, {"n": 2}) == "2x?"

"""Names of a program are names: torch writes them into source that it compiles."""

import pytest

from convpress.gate.pt2 import names
from convpress.refusal import Refusal

PLACE = ("models/model.json", "name")


def code_of(check, value):
    """The code of a refusal; None where the check passes."""
    try:
        check(value, PLACE)
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (names.identifier, "conv2d_1"),
        (names.identifier, "größe"),
        (names.argument, ""),
        (names.argument, "self"),
        (names.argument, "from"),
        (names.path, "blocks.0.conv.weight"),
        (names.path, "stage-1.layer 2.conv@1"),
        (names.module_path, ""),
        (names.module_path, "blocks.0"),
        (names.plain_text, "what it is for, in words"),
    ],
)
def test_names_pass(check, value):
    assert code_of(check, value) is None


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (names.identifier, ""),
        (names.identifier, "class"),
        (names.identifier, "a.b"),
        (names.identifier, "a\n    import os"),
        (names.identifier, "x, y=print()"),
        (names.argument, "a=b"),
        (names.argument, "a b"),
        (names.path, ""),
        (names.path, "a..b"),
        (names.path, "a.__class__"),
        (names.path, 'a"]'),
        (names.path, "a\nb"),
        (names.module_path, "."),
        (names.plain_text, "it's"),
        (names.plain_text, "back\\slash"),
        (names.plain_text, "a\x00"),
    ],
)
def test_what_would_be_code_is_unsafe(check, value):
    assert code_of(check, value) == "model_unsafe"


@pytest.mark.parametrize("check", [names.identifier, names.argument, names.path])
@pytest.mark.parametrize("value", [None, 7, ["a"], "a" * 1001])
def test_what_is_no_text_or_without_measure_is_invalid(check, value):
    assert code_of(check, value) == "model_invalid"

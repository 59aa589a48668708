"""Checks of JSON accept what the schema says, and name the place of what it does not."""

import pytest

from convpress.gate.pt2 import schema
from convpress.refusal import Refusal

SMALL = schema.integer(0, 9)
CHECKS = {
    "flag": (schema.flag, [True, False], [0, 1, None, "true"]),
    "integer": (SMALL, [0, 9], [-1, 10, True, 1.0, "1", None]),
    "any integer": (schema.integer(), [-(2**63), 2**63 - 1], [2**63, -(2**63) - 1]),
    "number": (schema.number, [0, 1.5, "NaN", "-Infinity"], [True, 2**1023, "1", []]),
    "text": (schema.text(3), ["", "abc"], ["abcd", 1, None]),
    "one of": (schema.one_of((1, "a"), "it"), [1, "a"], [True, 1.0, "b", [], {}]),
    "nullable": (schema.nullable(SMALL), [None, 3], [10, ""]),
    "list": (schema.list_of(SMALL, 2), [[], [1, 2]], [[1, 2, 3], [10], {}, "12"]),
    "map": (
        schema.map_of(schema.text(1), SMALL),
        [{}, {"a": 1}],
        [{"ab": 1}, {"a": 10}, []],
    ),
    "record": (
        schema.record({"a": SMALL}, {"b": SMALL}),
        [{"a": 1}, {"a": 1, "b": 2}],
        [{}, {"b": 2}, {"a": 1, "c": 1}, {"a": 10}, []],
    ),
    "union": (
        schema.union({"a": SMALL, "b": schema.flag}),
        [{"a": 1}, {"b": True}],
        [{}, {"a": 1, "b": True}, {"c": 1}, {"a": True}, None],
    ),
}


@pytest.mark.parametrize(("check", "good", "bad"), CHECKS.values(), ids=CHECKS)
def test_a_check_accepts_what_it_names(check, good, bad):
    for value in good:
        check(value, "it")
    for value in bad:
        with pytest.raises(Refusal) as refusal:
            check(value, "it")
        assert refusal.value.code == "model_invalid"
        assert "it" in refusal.value.detail


def test_the_place_within_containers_is_named():
    check = schema.record({"nodes": schema.list_of(schema.union({"a": SMALL}))})
    with pytest.raises(Refusal, match=r"model\.json, nodes\[1\]\.a is 10 instead of"):
        check({"nodes": [{"a": 1}, {"a": 10}]}, "model.json")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("file", "file"),
        (("file", 0), "file, [0]"),
        (("file", "a\x1b"), "file, 'a\\x1b'"),
    ],
)
def test_a_place_is_shown_without_harm(place, text):
    assert schema.shown(place) == text


def test_long_places_and_values_are_shown_in_part():
    place = "file"
    for _ in range(100):
        place = (place, "x" * 100)
    assert len(schema.shown(place)) < 300
    assert len(schema.brief("é" * 1000)) < 500
    assert schema.brief([1, 2]) == "a list of 2"
    assert len(schema.brief(10**400)) <= 80

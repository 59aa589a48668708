"""JSON of an archive is read in one way only, and in bounded memory."""

import pytest

from convpress.gate.pt2.json_text import parse
from convpress.limits import Limits
from convpress.refusal import Refusal


def test_plain_json_is_read():
    assert parse('{"a": [1, -2.5, null, "x"]}', "m.json", Limits()) == {
        "a": [1, -2.5, None, "x"]
    }


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", "model_invalid", "m.json is no JSON"),
        ("", "model_invalid", "m.json is no JSON"),
        ('{"a": 1, "a": 2}', "model_invalid", "has a name twice"),
        ('{"b": {"a": 1, "a": 1}}', "model_invalid", "has a name twice"),
        ("[NaN]", "model_invalid", "NaN is no number of JSON"),
        ("[-Infinity]", "model_invalid", "-Infinity is no number of JSON"),
        ("[" * 100_000 + "]" * 100_000, "model_over_limit", "too deep"),
        ("[" + "0," * 20 + "0]", "model_over_limit", "21 values"),
    ],
)
def test_what_readers_could_take_in_two_ways_or_is_too_much_is_refused(
    text, code, words
):
    limits = Limits(json_values=20) if "," in text else Limits()
    with pytest.raises(Refusal, match=words) as refusal:
        parse(text, "m.json", limits)
    assert refusal.value.code == code
    assert len(refusal.value.detail) < 300

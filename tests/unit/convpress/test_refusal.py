"""A refusal fits into one message, whatever it quotes."""

import json

from convpress.refusal import Code, Refusal
from worker.sandbox.messages import Failed, parse


def test_a_refusal_of_any_length_is_a_message():
    # Outside of the first 65,536 characters, which JSON writes as two escapes of six bytes.
    endless = "\U0001f600" * 1_000_000
    refusal = Refusal(
        Code.MODEL_INVALID,
        endless,
        field=endless,
        expected=endless,
        got=endless + "the end",
    )
    line = json.dumps({"event": "failed", "error": refusal.as_dict()}).encode()
    assert len(line) < 64 * 1024
    assert isinstance(parse(line), Failed)
    assert refusal.got.endswith("the end")
    assert len(str(refusal)) < 2000


def test_a_refusal_of_usual_length_stays_as_it_is():
    refusal = Refusal(Code.MODEL_INVALID, "no", field="model", got="x" * 700)
    assert refusal.as_dict()["got"] == "x" * 700
    assert str(refusal) == "no"

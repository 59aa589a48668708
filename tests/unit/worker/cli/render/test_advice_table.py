"""The advice on a model: a row a way, with what was measured, or why there is none."""

from support.service import fake_engine
from support.service.rendering import shown

from convpress.report.advice import Advice
from worker.cli import render


def lines(**option):
    options = [{**fake_engine.ADVICE["options"][0], **option}]
    advice = Advice.model_validate({**fake_engine.ADVICE, "options": options})
    return [line.strip() for line in shown(render.advice(advice)).splitlines()]


def test_the_ways_are_compared_with_the_model_as_it_is():
    table = lines(name="int8 alone", keep=0.5, time_kept=None)
    assert any(line.startswith("as it is") for line in table)
    [row] = [line for line in table if line.startswith("int8 alone")]
    assert "50.0 %" in row
    assert fake_engine.ADVICE["text"] in " ".join(table)


def test_a_way_that_fails_shows_its_reason_alone():
    [row] = [line for line in lines(refusal="it has \x07 none") if "it has" in line]
    assert "it has ? none" in row
    assert "%" not in row

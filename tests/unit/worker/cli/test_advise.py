"""The command of an advice: a table, or JSON; what is wrong with the inputs ends it at once."""

import json

import pytest
from support.service import fake_engine

from convpress.report.advice import Advice
from worker import offline


@pytest.fixture
def options(monkeypatch):
    """Let the engine give an advice, and collect the options that it is asked with."""
    asked = []

    def advise(_model, options, _samples, on_progress):
        asked.append(options)
        return Advice.model_validate(fake_engine.ADVICE)

    monkeypatch.setattr(offline, "advise", advise)
    return asked


def test_an_advice_is_shown_or_printed_as_json(run, model, options):
    assert fake_engine.ADVICE["text"] in " ".join(run("advise", model).stdout.split())
    printed = run("advise", model, "--input-range", "0,255", "--json").stdout
    assert json.loads(printed)["choice"] == fake_engine.ADVICE["choice"]
    assert [each.input_range for each in options] == [None, "0,255"]
    assert dict(options[0].budgets) == {}


def test_a_wrong_option_is_refused_without_an_engine(run, model, no_engine):
    refused = run("advise", model, "--input-range", "much", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["code"] == "input_range_invalid"


def test_an_engine_that_dies_ends_the_command(run, model, monkeypatch):
    def advise(*_, **__):
        raise offline.LostError("it died")

    monkeypatch.setattr(offline, "advise", advise)
    ended = run("advise", model)
    assert (ended.exit_code, "it died" in ended.stderr) == (3, True)

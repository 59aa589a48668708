"""The command of the demonstration ends with the reason where there is nothing to show."""

import pytest
from digits import MODELS

from worker.cli import demo, demonstration
from worker.cli.supervisor import CannotListen


@pytest.mark.parametrize("kind", [CannotListen, demonstration.DemonstrationError])
def test_a_demonstration_that_fails_says_why(run, model, monkeypatch, kind):
    def show(shown, _settings):
        assert shown == model
        raise kind("so it is")

    monkeypatch.setattr(demonstration, "run", show)
    ended = run("demo", model)
    assert (ended.exit_code, ended.stderr) == (1, "so it is\n")


def test_the_sample_model_of_the_demonstration_is_shipped():
    [default] = demo.demo.__defaults__
    assert default.is_file()
    assert default.resolve().parent == MODELS.resolve()

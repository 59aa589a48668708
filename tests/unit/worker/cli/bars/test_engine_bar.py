"""The bar follows the phases of the engine on standard error."""

import pytest

from worker.cli.bars.engine_bar import engine_bar
from worker.sandbox.messages import Progress


def test_the_bar_names_the_phase_and_ends_as_done(capsys):
    with engine_bar() as show:
        show(Progress("factoring", 0.5))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "done" in captured.err


def test_an_error_is_passed_on(capsys):
    with pytest.raises(KeyError), engine_bar():
        raise KeyError
    assert "done" not in capsys.readouterr().err

"""The parts of tables: text of a model as text, and values that may be missing."""

import sys
from datetime import UTC, datetime

import pytest
from support.service.rendering import shown

from worker.cli.render import tables


@pytest.mark.parametrize(
    ("text", "plain"), [(None, ""), ("[b]x[/b]", "[b]x[/b]"), ("a\x1b\n", "a??")]
)
def test_text_of_a_model_cannot_act_on_the_terminal(text, plain):
    assert str(tables.plain(text)) == plain


def test_a_console_that_is_no_terminal_is_wide(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert tables.console().width == 160


def test_names_are_folded_and_figures_stay_whole():
    table = tables.new_table("layer", ("MACs", "right"))
    table.add_row("l" * 30, "15.5 G")
    lines = shown(table, width=20).splitlines()
    assert any("15.5 G" in line for line in lines)
    assert "".join(lines).count("l") == 30 + "layer".count("l")


def test_what_is_missing_is_empty_or_a_question_mark():
    assert tables.minute(None) == ""
    assert tables.minute(datetime(2026, 5, 4, 3, 2, tzinfo=UTC)) == "2026-05-04 03:02"
    assert tables.milliseconds_text(None) == "?"
    assert tables.shape_text([]) == ""
    assert tables.shape_text([8, 3]) == "8x3"

"""The time left is a text, or nothing where it is not known."""

import pytest

from worker.cli.bars.progress_bar import left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "about 10 s left"), (70, "about 1 min left")],
)
def test_the_time_left_is_a_text(seconds, text):
    assert left(seconds) == text

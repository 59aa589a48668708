"""The threads that models are timed on, as text."""

import pytest

from convpress.refusal import Code, Refusal
from convpress.threads import MOST, parse_threads


def test_numbers_are_read_and_none_is_the_default():
    assert [parse_threads(text) for text in ("1", " 8 ", str(MOST))] == [1, 8, MOST]
    assert parse_threads(None) is parse_threads("  ") is None


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "65", "two", "\u0664", "9" * 5000])
def test_other_texts_are_refused(text):
    with pytest.raises(Refusal) as refused:
        parse_threads(text)
    assert (refused.value.code, refused.value.field) == (
        Code.THREADS_INVALID,
        "threads",
    )

"""Source is cut into words as torch cuts it."""

import tracemalloc

import pytest

from convpress.gate.torchscript.words import Word, words
from convpress.limits import Limits
from convpress.refusal import Refusal


def texts(source):
    return [word.text for word in words("code/a.py", source, Limits())]


def refusal_of(source, **limits):
    with pytest.raises(Refusal) as refusal:
        list(words("code/a.py", source, Limits(**limits)))
    return refusal.value


@pytest.mark.parametrize(
    ("source", "cut"),
    [
        ("", []),
        ("a.b(1e-5, .5j)", ["a", ".", "b", "(", "1e-5", ",", ".5j", ")"]),
        ("x = 'it''s # no' # yes", ["x", "=", "'it'", "'s # no'"]),
        ('"""a\n"b" """', ['"""a\n"b" """']),
        ("def f() -> int: ...", ["def", "f", "(", ")", "->", "int", ":", *"..."]),
        ("a \\\n b", ["a", "b"]),
    ],
)
def test_words_are_names_numbers_texts_and_marks(source, cut):
    assert texts(source) == cut


def test_a_word_knows_its_line_and_the_first_of_a_line_its_indent():
    assert list(words("a", 'x\n  """\n""" y', Limits())) == [
        Word("name", "x", 1, 0),
        Word("text", '"""\n"""', 2, 2),
        Word("name", "y", 3, -1),
    ]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("x = 'open", "model_invalid"),
        ("x = 1a", "model_invalid"),
        ("x = 1.2.3", "model_invalid"),
        ("x = 1 # type: int", "model_unsafe"),
    ],
)
def test_what_torch_would_read_in_another_way_is_refused(source, code):
    refusal = refusal_of(f"\n{source}")
    assert (refusal.code, "line 2" in refusal.detail) == (code, True)


def test_lines_without_a_word_are_bounded():
    assert refusal_of("#\n\n" * 3, depth=5).code == "model_over_limit"
    assert len(list(words("a", "x\n\n" * 100, Limits(depth=5)))) == 100


def test_a_text_is_no_mark():
    assert Word("mark", "(", 1).is_mark(("(", "["))
    assert not Word("text", "(", 1).is_mark(("(",))


@pytest.mark.parametrize("quote", ["'", '"', "'''", '"""'])
def test_a_long_text_takes_no_more_than_its_size(quote):
    source = f"{quote}{'x' * 300_000}{quote}"
    tracemalloc.start()
    assert texts(source) == [source]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * len(source)

"""The nearest known word is named, and no word where none is near."""

import pytest

from convpress.text.spelling import did_you_mean, nearest

FIELDS = (
    "model",
    "samples",
    "flops_budget",
    "bytes_budget",
    "input_shape",
    "webhook_url",
)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("budget", "flops_budget"),
        ("flops-budget", "flops_budget"),
        ("FLOPS_BUDGET", "flops_budget"),
        ("input_shap", "input_shape"),
        ("shape", "input_shape"),
        ("webhook", "webhook_url"),
        ("sample", "samples"),
        ("quality", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_the_most_similar_word_is_meant(word, meant):
    assert nearest(word, FIELDS) == meant


def test_without_known_words_nothing_is_meant():
    assert did_you_mean("budget", ()) == ""

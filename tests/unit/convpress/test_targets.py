"""Targets: names that are known, and the nearest one to a name that is not."""

import pytest

from convpress.refusal import Code, Refusal
from convpress.targets import TARGETS, parse_target


def test_names_are_read_and_none_is_this_host():
    assert [parse_target(f" {name.upper()} ") for name in TARGETS] == list(TARGETS)
    assert parse_target(None) is parse_target("  ") is None


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("x86-avx51", ": did you mean x86-avx512?"),
        ("raspberry", ""),
        ("x86_avx2", "x86-avx2?"),
    ],
)
def test_an_unknown_target_is_refused_with_the_nearest_one(text, question):
    with pytest.raises(Refusal) as refused:
        parse_target(text)
    assert (refused.value.code, refused.value.field) == (Code.TARGET_INVALID, "target")
    assert refused.value.detail.endswith(question or repr(text))
    assert "cost-table collect" in refused.value.expected

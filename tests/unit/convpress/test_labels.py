"""Labels: what is read, and what is refused with the text that came."""

import pytest

from convpress.labels import MOST, parse_labels
from convpress.refusal import Code, Refusal


def test_spaces_and_order_do_not_matter():
    assert parse_labels(" run=42 , team = vision") == parse_labels("team=vision,run=42")


def test_a_value_may_be_empty_and_hold_an_equals_sign():
    assert parse_labels("note=,query=a=b") == {"note": "", "query": "a=b"}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("team", "'team' is not a label"),
        ("=vision", "is not a label"),
        ("-team=vision", "is not a label"),
        (f"{'n' * 64}=1", "is not a label"),
        (f"n={'v' * 129}", "is not a label"),
        ("team=a\x07b", "is not a label"),
        ("team=a,team=b", "'team' is named twice"),
        (
            ",".join(f"n{number}=1" for number in range(MOST + 1)),
            "17 labels are too many",
        ),
    ],
)
def test_what_is_no_label_is_refused(text, detail):
    with pytest.raises(Refusal, match=detail) as refused:
        parse_labels(text, "label")
    assert refused.value.code == Code.LABELS_INVALID
    assert refused.value.field == "label"
    assert refused.value.got == text[:80]

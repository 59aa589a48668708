"""Labels of a job: names and values by which its owner finds it."""

import re

from convpress.refusal import Code, Refusal

FIELD = "labels"
EXPECTED = "name=value pairs joined by commas, such as team=vision,run=42; at most 16"

# Names need no quotes in a URL, a shell or the list of pairs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_LONGEST_VALUE = 128
MOST = 16


def parse_labels(text: str, field: str = FIELD) -> dict[str, str]:
    """Read labels as a user writes them.

    Raises:
        Refusal: `labels_invalid`.

    >>> parse_labels("team=vision, run=42")
    {'team': 'vision', 'run': '42'}
    >>> parse_labels("")
    {}
    """
    labels: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else []:
        name, equals, value = (half.strip() for half in pair.partition("="))
        if (
            not equals
            or not _NAME.fullmatch(name)
            or not value.isprintable()
            or len(value) > _LONGEST_VALUE
        ):
            raise _invalid(f"{pair.strip()[:80]!r} is not a label", field, text)
        # The later value would otherwise replace the earlier one in silence.
        if name in labels:
            raise _invalid(f"label {name!r} is named twice", field, text)
        labels[name] = value
    if len(labels) > MOST:
        raise _invalid(f"{len(labels)} labels are too many", field, text)
    return labels


def _invalid(detail: str, field: str, text: str) -> Refusal:
    return Refusal(Code.LABELS_INVALID, detail, field=field, expected=EXPECTED, got=text[:80])

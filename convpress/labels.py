"""Labels of a job: names and values by which its owner finds it."""

import re
from collections.abc import Mapping

from convpress.refusal import Code, Refusal

FIELD = "labels"
EXPECTED = (
    "at most 16 name=value pairs joined by commas, such as team=vision,run=42; names of ASCII "
    "letters, digits and ._/-"
)

# Names need no quotes in a URL, a shell or the list of pairs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_LONGEST_VALUE = 128
MOST = 16
SCHEMA = {
    "type": "object",
    "maxProperties": MOST,
    "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
    "additionalProperties": {
        "type": "string",
        "maxLength": _LONGEST_VALUE,
        "description": "Printable, and without commas",
    },
}
"""Labels as names and values, in JSON Schema."""


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
        if not equals or not _is_label(name, value):
            raise _invalid(f"{pair.strip()[:80]!r} is not a label", field, text)
        # The later value would otherwise replace the earlier one in silence.
        if name in labels:
            raise _invalid(f"label {name!r} is named twice", field, text)
        labels[name] = value
    if len(labels) > MOST:
        raise _invalid(f"{len(labels)} labels are too many", field, text)
    return labels


def check_labels(labels: Mapping[str, str], field: str = FIELD) -> dict[str, str]:
    """Return labels that came as names and values; spaces around a value are dropped.

    Raises:
        Refusal: `labels_invalid`, also for a value with a comma, which a form could not send.

    >>> check_labels({"team": " vision "})
    {'team': 'vision'}
    """
    stripped = {name: value.strip() for name, value in labels.items()}
    pairs = ",".join(f"{name}={value}" for name, value in stripped.items())
    # JSON may have half a surrogate pair, which no refusal can be written with.
    written = pairs.encode(errors="backslashreplace").decode()
    for name, value in stripped.items():
        if not _is_label(name, value) or "," in value:
            raise _invalid(f"{f'{name}={value}'[:80]!r} is not a label", field, written)
    if len(stripped) > MOST:
        raise _invalid(f"{len(stripped)} labels are too many", field, written)
    return stripped


def written_labels(labels: Mapping[str, str]) -> str:
    """Return labels as a user writes them.

    >>> written_labels({"team": "vision", "run": "42"})
    'team=vision, run=42'
    """
    return ", ".join(f"{name}={value}" for name, value in labels.items())


def _is_label(name: str, value: str) -> bool:
    is_value = value.isprintable() and len(value) <= _LONGEST_VALUE
    return is_value and _NAME.fullmatch(name) is not None


def _invalid(detail: str, field: str, text: str) -> Refusal:
    return Refusal(
        Code.LABELS_INVALID, detail, field=field, expected=EXPECTED, got=text[:80]
    )

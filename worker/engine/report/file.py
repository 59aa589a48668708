"""The file of a report or an inspection."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convpress import report as records


def write(path: str, members: Mapping[str, Any]) -> None:
    """Write a report or an inspection as JSON; texts of any length, as of a model, are cut."""
    text = json.dumps(_cut(members), indent=1, allow_nan=False)
    Path(path).write_text(text)


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a value with its texts at most as long as a reader of the report accepts."""
    if isinstance(value, str) and len(value) > records.LONGEST_TEXT:
        return f"{value[: records.LONGEST_TEXT - 1]}…"
    if isinstance(value, Mapping):
        return {_cut(name): _cut(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value

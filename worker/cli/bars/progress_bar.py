"""The time left as a column of a progress bar."""

from rich.progress import TextColumn

from convpress.text.quantities import about

LEFT = TextColumn("{task.fields[left]}")
"""The column: each task of a bar that has it needs the field `left`."""


def left(seconds: float | None) -> str:
    """Return the text of the column, empty where the time left is not known.

    >>> left(70), left(None)
    ('about 1 min left', '')
    """
    return "" if seconds is None else f"about {about(seconds)} left"

"""The parts of all tables: columns, text from a model as plain text, sizes, times."""

import sys
from collections.abc import Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convpress.text.quantities import milliseconds


def console() -> Console:
    """Return the terminal, or a wide console where standard output is none."""
    if sys.stdout.isatty():
        return Console()
    # rich would fold lines for a file or a pipe at 80 columns
    return Console(width=160)


def new_table(*columns: str | tuple[str, str]) -> Table:
    """Return an empty table; a column is its name, or its name and how it is justified."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        name, justify = column if isinstance(column, tuple) else (column, "left")
        if justify == "right":
            table.add_column(name, justify="right", no_wrap=True)
        else:
            # folded and never cut: the ends of layers' names tell them apart
            table.add_column(name, overflow="fold")
    return table


def plain(text: str | None) -> Text:
    """Return text from a model as plain text: no markup, no control characters of a terminal."""
    printable = [char if char.isprintable() else "?" for char in text or ""]
    return Text("".join(printable))


def shape_text(sizes: Sequence[int]) -> str:
    """Return a shape as text."""
    return "x".join(map(str, sizes))


def minute(time: datetime | None) -> str:
    """Return a time to the minute; empty for none."""
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def milliseconds_text(latency: float | None) -> str:
    """Return a time in words; a question mark where it is not known."""
    return "?" if latency is None else milliseconds(latency)

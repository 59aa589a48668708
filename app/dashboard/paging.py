"""Long tables in pages: a page of a browser holds some hundred rows of any number."""

from collections.abc import Sequence
from typing import Annotated, Generic, NamedTuple, TypeVar

from fastapi import Query

ROWS = 200
"""The most rows of a page; most networks have fewer layers."""

Row = TypeVar("Row")

PageNumber = Annotated[int, Query(ge=1, le=10**6, description="Page of a long table")]


class Page(NamedTuple, Generic[Row]):
    """Some rows of `total`: from the row number `first` (from 1) to `last`, on page `number`."""

    rows: Sequence[Row]
    number: int
    pages: int
    first: int
    last: int
    total: int


def cut(rows: Sequence[Row], number: int) -> Page[Row]:
    """Return a page of rows; the last one where the number is beyond it.

    >>> cut(range(450), 3)[1:], cut([], 7)[1:]
    ((3, 3, 401, 450, 450), (1, 1, 1, 0, 0))
    """
    pages = max(1, -(-len(rows) // ROWS))
    number = min(number, pages)
    start = (number - 1) * ROWS
    shown = rows[start : start + ROWS]
    return Page(shown, number, pages, start + 1, start + len(shown), len(rows))

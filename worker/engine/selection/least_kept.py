"""The search for the cheapest budget that keeps a promise: bisection over percents of the FLOPs."""

from collections.abc import Callable

MILDEST = 95
"""The largest percentage that is tried: above it an artifact saves next to nothing."""
MOST_TRIES = 7
"""The tries that bisection over 1 to 95 percent takes at most."""


def least_kept(is_kept: Callable[[int], bool]) -> int | None:
    """Return the least percentage that is found to keep a promise; None where none is.

    Losses fall as more is kept, so that halves can be left out. Where they do not, the result
    still keeps the promise, though it may not be the cheapest one.

    >>> least_kept(lambda percent: percent >= 37), least_kept(lambda percent: False)
    (37, None)
    """
    low, high = 0, MILDEST + 1
    while high - low > 1:
        middle = (low + high) // 2
        if is_kept(middle):
            high = middle
        else:
            low = middle
    return high if high <= MILDEST else None

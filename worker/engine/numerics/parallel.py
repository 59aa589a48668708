"""Independent parts of one job on several threads, with their results in order.

Each part computes on its own thread as it would alone, so that the numbers are the same whatever
the number of threads. A process serves one request, so the number is the process's own.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from worker.engine.numerics import device

_MOST = 4
"""The most threads: the values of as many parts are in memory at once."""

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_threads = 1


def choose(threads: int) -> None:
    """Compute on at most this number of threads from now on."""
    global _threads
    _threads = min(threads, _MOST)


def in_order(
    work: Callable[[_Part], _Result], parts: Sequence[_Part]
) -> Iterator[_Result]:
    """Yield the result of each part.

    A device other than the processor computes part after part.
    """
    if _threads == 1 or device.chosen() != device.PROCESSOR:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(_threads) as pool:
        yield from pool.map(work, parts)
